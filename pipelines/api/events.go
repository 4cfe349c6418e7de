package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// commentEvery is how often a stream without an event has a comment, so that nothing
// between takes the connection for dead.
const commentEvery = 15 * time.Second

// writeWithin bounds one write of a stream: a client that does not read does not keep its
// place.
const writeWithin = 30 * time.Second

// events is GET /v1/executions/{id}/events: server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (a *API) events(w http.ResponseWriter, c *call) error {
	last, err := lastEventID(c.Header)
	if err != nil {
		return err
	}
	loaded, err := a.get(c)
	if err != nil {
		return err
	}
	if last > loaded.Execution.Events {
		return errLastEventID()
	}
	watch, err := a.deps.Live.Watch(c.tenant, loaded.Execution.ID)
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	defer watch.Close()
	var closing sync.WaitGroup
	defer closing.Wait()
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	closing.Go(func() {
		select {
		case <-a.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	s := &stream{w: w, control: http.NewResponseController(w), x: loaded.Execution, last: last}
	s.begin()
	if c.Method == http.MethodHead {
		return nil
	}
	for wrote := time.Now(); ; {
		n, ended, err := a.send(ctx, s)
		switch {
		case err != nil && ctx.Err() == nil && !s.broken:
			a.deps.Logger.WarnContext(ctx, "a stream of events ends early: its client comes again", "execution", s.x.ID, "error", err)
			return nil
		case err != nil || ended, s.x.Status.Ended() && n == 0: // or the last one came before
			return nil
		case n > 0:
			wrote = time.Now()
		case time.Since(wrote) >= commentEvery:
			if s.write([]byte(": waiting\n\n")) != nil {
				return nil
			}
			wrote = time.Now()
		}
		waiting, done := context.WithTimeout(ctx, commentEvery-min(time.Since(wrote), commentEvery))
		_ = watch.Wait(waiting) // whatever ended it, it is looked at again
		done()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// lastEventID is the number of the event after which a stream goes on.
func lastEventID(h http.Header) (int64, error) {
	values := h.Values(contract.LastEventIDHeader)
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || n < 0 || len(values) > 1 {
		return 0, errLastEventID()
	}
	return n, nil
}

func errLastEventID() error {
	return problem.Invalid(contract.LastEventIDHeader, "expected the id of an event of this stream, unchanged")
}

// stream is what is written of one.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	x       *execution.Execution
	last    int64
	broken  bool // a write failed: the client is gone
}

func (s *stream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.w.WriteHeader(http.StatusOK)
	_ = s.control.Flush() // one that cannot has nothing to flush
}

// send writes the events that there are, and reports whether the last one ends the
// execution.
func (a *API) send(ctx context.Context, s *stream) (n int, ended bool, err error) {
	for {
		events, err := a.deps.Store.Events(ctx, s.x.Tenant, s.x.ID, s.last)
		if err != nil || len(events) == 0 {
			return n, false, err //nolint:wrapcheck // it is logged
		}
		var text bytes.Buffer
		for _, e := range events {
			if err := s.format(&text, &e); err != nil {
				return n, false, err
			}
			s.last = e.Number
			n++
			if ended = e.Ends(); ended {
				break
			}
		}
		if err := s.write(text.Bytes()); err != nil || ended {
			return n, ended, err
		}
	}
}

func (s *stream) format(to *bytes.Buffer, e *execution.Event) error {
	id := strconv.FormatInt(e.Number, 10)
	data, err := json.Marshal(contract.Event{
		SpecVersion: "1.0", ID: s.x.ID + "." + id, Source: contract.PathOf("/executions/{id}", s.x.ID), Type: e.Type, Subject: e.Step, Time: e.At.UTC(),
		ContentType: jsonType, ExecutionID: s.x.ID, Pipeline: s.x.Pipeline,
		Data: contract.EventData{Execution: s.x.ID, Pipeline: nameOf(s.x.Pipeline), Version: s.x.Version, Status: contract.Status(e.Status), Step: e.Step},
	})
	if err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	fmt.Fprintf(to, "id: %s\nevent: %s\ndata: %s\n\n", id, e.Type, data)
	return nil
}

func (s *stream) write(text []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer can
	_, err := s.w.Write(text)
	if err == nil {
		if err = s.control.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	if err != nil {
		s.broken = true
		return fmt.Errorf("write an event: %w", err)
	}
	return nil
}
