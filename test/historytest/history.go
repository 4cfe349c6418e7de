package historytest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// history is what the platform has of an execution.
type history struct {
	execution contract.Execution
	events    []contract.Event // as they came, from the first
	letters   []contract.DeadLetter
}

// events reads an execution's stream to its end, however often it breaks off, which
// waits until the execution has ended.
func (r *Run) events(ctx context.Context, id string, h *history) error {
	for {
		ended, again, err := r.stream(ctx, id, h)
		if ended {
			return nil
		}
		if err == nil {
			err = errors.New("the stream ended before the execution")
		} else if !again {
			return err
		}
		if err := rest(ctx, err); err != nil {
			return err
		}
	}
}

// stream reads one, after the events that there are.
func (r *Run) stream(ctx context.Context, id string, h *history) (ended, again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last := ""
	if n := len(h.events); n > 0 {
		_, last, _ = strings.Cut(h.events[n-1].ID, ".")
	}
	res, err := r.send(ctx, http.MethodGet, contract.PathOf(contract.EventsPath, id), http.Header{contract.LastEventIDHeader: {last}}, nil)
	if err != nil {
		return false, true, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, mayComeAgain(res.StatusCode), fmt.Errorf("the events: %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, is := strings.CutPrefix(lines.Text(), "data: ")
		if !is {
			continue
		}
		var e contract.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return false, false, fmt.Errorf("an event: %w", err)
		}
		h.events = append(h.events, e)
		ended = ended || (&execution.Event{Type: e.Type}).Ends()
	}
	return ended, true, lines.Err()
}

// faults is what is wrong with the history of an execution of a pipeline of these
// steps, whose output is to be want.
func (h *history) faults(steps []string, want string) []error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	x := &h.execution
	times := map[string]int{}
	for i, e := range h.events {
		if id := x.ID + "." + strconv.Itoa(i+1); e.ID != id {
			fault("its event %d has the id %s, expected %s", i+1, e.ID, id)
		}
		if i > 0 && e.Time.Before(h.events[i-1].Time) {
			fault("its event %d is of before the one before it", i+1)
		}
		times[strings.TrimSuffix(strings.TrimPrefix(e.Type, "dev.modelserve."), ".v1")+" "+e.Subject]++
	}
	ends := times["execution.succeeded "] + times["execution.failed "] + times["execution.cancelled "]
	if n := len(h.events); ends != 1 || n == 0 || !(&execution.Event{Type: h.events[n-1].Type}).Ends() || h.events[n-1].Data.Status != x.Status {
		fault("it is %s, and ended %d times: %v", x.Status, ends, times)
	}
	if times["execution.accepted "] != 1 || times["execution.started "] != 1 {
		fault("it was not accepted and begun once: %v", times)
	}
	for _, name := range steps {
		if n := times["step.started "+name]; n > 1 || n < times["step.succeeded "+name]+times["step.failed "+name] {
			fault("step %s began and ended otherwise than once: %v", name, times)
		}
	}
	if !slices.Equal(steps, names(x.Steps)) {
		fault("its steps are %v", names(x.Steps))
	}
	switch x.Status {
	case contract.Succeeded:
		h.succeeded(times, want, fault)
	case contract.Failed:
		late := x.Error != nil && x.Error.Code == problem.DeadlineExceeded
		if x.Error == nil || len(h.letters) != 1 && !late {
			fault("it failed with %+v and %d dead letters", x.Error, len(h.letters))
		}
	default:
		fault("it is %s, which nobody asked for", x.Status)
	}
	return faults
}

func (h *history) succeeded(times map[string]int, want string, fault func(format string, args ...any)) {
	x := &h.execution
	if string(x.Output) != want {
		fault("its output is %.200s, expected %.200s", x.Output, want)
	}
	if x.Error != nil || len(h.letters) > 0 {
		fault("it succeeded with %+v and %d dead letters", x.Error, len(h.letters))
	}
	for i := range x.Steps {
		s := &x.Steps[i]
		if s.Status != contract.Succeeded || s.Attempts < 1 || s.StartedAt == nil || s.FinishedAt == nil || times["step.succeeded "+s.Name] != 1 {
			fault("it succeeded, and step %s is %s after %d attempts: %v", s.Name, s.Status, s.Attempts, times)
		}
	}
}

func names(steps []contract.Step) []string {
	all := make([]string, len(steps))
	for i := range steps {
		all[i] = steps[i].Name
	}
	return all
}
