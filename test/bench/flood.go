package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// flood is an open load: requests at a rate, whatever becomes of the others. It
// is bounded all the same, by its connections and by its time: a request that
// finds every connection waiting is counted as not sent.
type flood struct {
	Address string
	Request []byte
	Rate    float64 // requests per second
	Turn    time.Duration
}

// floodConns are more than a function lets wait.
const floodConns = 512

// floodResult counts a flood's requests.
type floodResult struct {
	Sent, Answered, Refused, Unsent, Failed int64
	Took, CPU                               time.Duration
}

func (r *floodResult) add(more floodResult) {
	r.Sent += more.Sent
	r.Answered += more.Answered
	r.Refused += more.Refused
	r.Unsent += more.Unsent
	r.Failed += more.Failed
	r.Took += more.Took
	r.CPU += more.CPU
}

// String is the counts per second, as text.
func (r floodResult) String() string {
	seconds := r.Took.Seconds()
	return fmt.Sprintf("%.0f/s sent, %.0f/s answered, %.0f/s refused, %.0f/s without a connection, %d failed, %.2f processors its own",
		float64(r.Sent)/seconds, float64(r.Answered)/seconds, float64(r.Refused)/seconds, float64(r.Unsent)/seconds, r.Failed, r.CPU.Seconds()/seconds)
}

// flooding is a flood in a process of its own, so that its processor time can
// be measured by itself.
type flooding struct {
	*process
	out io.ReadCloser
}

func startFlood(t *target, f flood) (*flooding, error) {
	f.Address, f.Request = t.address, t.request
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := &flooding{process: &process{cmd: exec.Command(self, "-flood")}}
	child.cmd.Stderr = child.process
	in, err := child.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if child.out, err = child.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := child.cmd.Start(); err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(in).Encode(f), in.Close()); err != nil {
		return nil, errors.Join(err, child.cmd.Process.Kill(), child.cmd.Wait())
	}
	return child, nil
}

func (f *flooding) wait() (r floodResult, err error) {
	err = json.NewDecoder(f.out).Decode(&r)
	if waitErr := f.cmd.Wait(); err != nil || waitErr != nil {
		return r, fmt.Errorf("the flood: %w\n%s", errors.Join(err, waitErr), f.tail())
	}
	r.CPU = f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()
	return r, nil
}

// serveFlood is the flooding process: what to do in, what came of it out.
func serveFlood(ctx context.Context, in io.Reader, out io.Writer) error {
	var f flood
	if err := json.NewDecoder(in).Decode(&f); err != nil {
		return err
	}
	r, err := f.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

func (f *flood) run(ctx context.Context) (r floodResult, err error) {
	t := &target{address: f.Address, request: f.Request}
	due := make(chan struct{}, floodConns)
	var answered, refused, failed atomic.Int64
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(f.Turn+floodGrace))
	defer cancel()
	var wg sync.WaitGroup
	for range floodConns {
		wg.Go(func() {
			for range due {
				err := f.client(ctx, t, due, &answered, &refused)
				if err != nil && time.Since(began) < f.Turn {
					failed.Add(1)
				}
			}
		})
	}
	r.Sent, r.Unsent = f.pace(ctx, began, due)
	r.Took = time.Since(began)
	close(due)
	wg.Wait()
	r.Answered, r.Refused, r.Failed = answered.Load(), refused.Load(), failed.Load()
	return r, nil
}

// floodGrace is how long answers are waited for once no more is sent.
const floodGrace = 2 * time.Second

// client sends over one connection: once, for the token its caller took, and
// again whenever a request is due, until none is or the connection fails.
func (f *flood) client(ctx context.Context, t *target, due <-chan struct{}, answered, refused *atomic.Int64) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	for ok := true; ok; _, ok = <-due {
		err := c.exchange(t.request)
		var status *statusError
		switch {
		case err == nil:
			answered.Add(1)
		case errors.As(err, &status) && status.status == http.StatusTooManyRequests:
			refused.Add(1)
		default:
			return err
		}
	}
	return nil
}

// pace lets requests become due at the rate, a few each millisecond.
func (f *flood) pace(ctx context.Context, began time.Time, due chan<- struct{}) (sent, unsent int64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		since := time.Since(began)
		if since > f.Turn {
			return sent, unsent
		}
		for sent+unsent < int64(since.Seconds()*f.Rate) {
			select {
			case due <- struct{}{}:
				sent++
			default:
				unsent++
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sent, unsent
		}
	}
}
