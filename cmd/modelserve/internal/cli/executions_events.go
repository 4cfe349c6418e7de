package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// Bounds of following the events of an execution.
const (
	maxEvent     = 1 << 20          // bytes of one
	longSilence  = 45 * time.Second // three times the pause between the platform's comments: the connection is dead
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	mostFailures = 20 // in a row, before it is given up: a minute and a half
)

// follow calls seen for every event of an execution, from the first to the one that
// ends it, whatever connections do in between: it comes again with the id of the last
// event that it saw.
func (c *client) follow(ctx context.Context, id string, seen func(contract.Event)) error {
	last, pause, failures := "", firstPause, 0
	for {
		got, err := c.events(ctx, id, &last, seen)
		switch {
		case err == nil, ctx.Err() != nil:
			return firstError(ctx.Err(), err)
		case final(err):
			return err
		case got:
			pause, failures = firstPause, 0
		}
		if failures++; failures > mostFailures {
			return fmt.Errorf("following %s broke off %d times: %w; the execution goes on: `modelserve executions watch %s`", id, failures, err, id)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// final reports whether coming again will not help.
func final(err error) bool {
	var known *problem.Error
	if !errors.As(err, &known) {
		return false
	}
	status := known.Code.Row().Status
	return status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
}

// events reads one connection of the stream. got is whether an event came; without an
// error the last one did.
func (c *client) events(ctx context.Context, id string, last *string, seen func(contract.Event)) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		header.Set(contract.LastEventIDHeader, *last)
	}
	resp, err := c.open(ctx, &sending{method: http.MethodGet, path: contract.PathOf(contract.EventsPath, id), header: header, patience: endless})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	watchdog := time.AfterFunc(longSilence, func() { cancel(fmt.Errorf("nothing came for %v", longSilence)) })
	defer watchdog.Stop()
	ended := false
	err = serverSent(resp.Body, func() { watchdog.Reset(longSilence) }, func(eventID, data string) error {
		var e contract.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("%s does not answer like ModelServe (%w); check --server", c.server, err)
		}
		if eventID != "" {
			*last = eventID
		}
		got = true
		seen(e)
		ended = e.Data.Step == "" && e.Data.Status.Ended()
		return nil
	})
	switch cause := context.Cause(ctx); {
	case ended:
		return got, nil
	case cause != nil:
		return got, cause
	case err == nil:
		return got, errors.New("the stream ended before the execution did")
	default:
		return got, err
	}
}

// serverSent reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)
// to the end of the stream. alive is called for every line, comments too.
func serverSent(stream io.Reader, alive func(), event func(id, data string) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 4096), maxEvent)
	var id string
	var data []string
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line == "" {
			if len(data) > 0 {
				if err := event(id, strings.Join(data, "\n")); err != nil {
					return err
				}
			}
			id, data = "", nil
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "data":
			data = append(data, value)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	return nil
}
