package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// attack is what one tenant does to the others: so many connections, which take
// its kinds in turn, each its next attempt when the last one has ended. It is a
// process of its own, so that its processor time can be measured by itself.
type attack struct {
	Address, Key string
	Kinds        []string
	Conns        int
}

// A connection begins no more attempts than this, and none before the time that a
// refusal named: it is the platform that is measured, not how fast an attacker is
// who shares its processors.
const attackPause = time.Second / 20

// attackResult counts what became of attempts.
type attackResult struct {
	Attempts int
	Ended    map[string]int // by status, "held" where the turn ended them, "cut" where the connection did
	Took     time.Duration
	CPU      time.Duration // of the attacker
}

func (r *attackResult) add(more *attackResult) {
	if r.Ended == nil {
		r.Ended = map[string]int{}
	}
	r.Attempts += more.Attempts
	r.Took += more.Took
	r.CPU += more.CPU
	for how, n := range more.Ended {
		r.Ended[how] += n
	}
}

// String is the counts as text.
func (r *attackResult) String() string {
	var ended []string
	for _, how := range slices.Sorted(maps.Keys(r.Ended)) {
		ended = append(ended, fmt.Sprintf("%d %s", r.Ended[how], how))
	}
	return fmt.Sprintf("%d attempts in %.0f s: %s; %.2f processors its own", r.Attempts, r.Took.Seconds(), strings.Join(ended, ", "), r.CPU.Seconds()/r.Took.Seconds())
}

// attacker is the process of an attack, which has turns.
type attacker struct {
	*process
	in   io.WriteCloser
	out  *json.Decoder
	cpus time.Duration // when the turn began
}

// startAttacker starts one and waits until its bodies are made.
func startAttacker(self string, a *attack) (*attacker, error) {
	child := &attacker{process: &process{cmd: exec.Command(self, "-attack")}}
	child.cmd.Stderr = child.process
	in, err := child.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := child.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	child.in, child.out = in, json.NewDecoder(out)
	if err := child.cmd.Start(); err != nil {
		return nil, err
	}
	var ready attackResult
	if err := errors.Join(json.NewEncoder(in).Encode(a), child.out.Decode(&ready)); err != nil {
		return nil, errors.Join(err, child.end())
	}
	return child, nil
}

// begin has a turn begin.
func (a *attacker) begin() (err error) {
	if a.cpus, err = a.cpu(); err != nil {
		return err
	}
	_, err = io.WriteString(a.in, "\n")
	return err
}

// stop has it end.
func (a *attacker) stop() (*attackResult, error) {
	if _, err := io.WriteString(a.in, "\n"); err != nil {
		return nil, fmt.Errorf("the attacker: %w\n%s", err, a.tail())
	}
	r := new(attackResult)
	if err := a.out.Decode(r); err != nil {
		return nil, fmt.Errorf("the attacker: %w\n%s", err, a.tail())
	}
	now, err := a.cpu()
	r.CPU = now - a.cpus
	return r, err
}

// end ends the process.
func (a *attacker) end() error {
	if err := errors.Join(a.in.Close(), a.cmd.Wait()); err != nil {
		return fmt.Errorf("the attacker: %w\n%s", err, a.tail())
	}
	return nil
}

// serveAttack is the attacking process. What to do comes in the first line of in;
// each line after it begins a turn, or ends it. A result goes out when its bodies are
// made, and at the end of each turn.
func serveAttack(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.Join(errors.New("expected an attack"), lines.Err())
	}
	var a attack
	if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
		return err
	}
	kinds, err := a.kinds()
	if err != nil {
		return err
	}
	answer := json.NewEncoder(out)
	for err = answer.Encode(attackResult{}); err == nil && lines.Scan(); {
		turn, stop := context.WithCancel(ctx)
		t := &assault{attack: &a, kinds: kinds, result: attackResult{Ended: map[string]int{}}}
		t.begin(turn)
		lines.Scan()
		stop()
		err = answer.Encode(t.end())
	}
	return errors.Join(err, lines.Err())
}

// assault is a turn under way.
type assault struct {
	*attack

	kinds   []kind
	began   time.Time
	clients sync.WaitGroup
	mu      sync.Mutex
	result  attackResult
}

// kind is a way to attack: it makes a client, which has a connection of its own.
type kind func() client

// client makes attempts, one after the other.
type client interface {
	// attempt makes one and returns how it ended, and what is to be waited before
	// the next one.
	attempt(ctx context.Context) (ended string, wait time.Duration)
	close()
}

// begin has its clients begin one after the other, within what they pause.
func (t *assault) begin(ctx context.Context) {
	t.began = time.Now()
	for i := range t.Conns {
		t.clients.Go(func() {
			if pause(ctx, attackPause*time.Duration(i)/time.Duration(t.Conns)) != nil {
				return
			}
			c := t.kinds[i%len(t.kinds)]()
			defer c.close()
			t.run(ctx, c)
		})
	}
}

func (t *assault) run(ctx context.Context, c client) {
	for ctx.Err() == nil {
		began := time.Now()
		ended, wait := c.attempt(ctx)
		if ctx.Err() != nil {
			ended = "held"
		}
		t.mu.Lock()
		t.result.Attempts++
		t.result.Ended[ended]++
		t.mu.Unlock()
		_ = pause(ctx, max(wait, attackPause-time.Since(began))) // which ends with the turn
	}
}

func (t *assault) end() *attackResult {
	t.clients.Wait()
	t.result.Took = time.Since(t.began)
	return &t.result
}
