package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/contract"
)

func minOf(v []float64) float64 { return slices.Min(v) }
func maxOf(v []float64) float64 { return slices.Max(v) }

// ids makes ids of executions that rise, as the service's do.
type ids struct {
	prefix string
	n      atomic.Int64
}

func newIDs() *ids { return &ids{prefix: strconv.FormatInt(time.Now().UnixNano(), 36)} }

func (i *ids) next() string { return fmt.Sprintf("%s-%09d", i.prefix, i.n.Add(1)) }

// answering stands in for a channel and all functions behind it: it answers each step of
// the chain at once, and hands the reply to the service.
type answering struct {
	server *httptest.Server
	reply  http.Handler
}

func newAnswering() *answering {
	a := &answering{}
	a.server = httptest.NewServer(a)
	return a
}

// First implements dispatch.Channels.
func (a *answering) First(context.Context, string, string, int, int, int) (url, host string, err error) {
	return a.server.URL, "", nil
}

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = a.answer(r, data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (a *answering) answer(r *http.Request, data []byte) error {
	e, err := envelope.Parse(data)
	if err != nil {
		return err
	}
	epoch, err := strconv.Atoi(r.Header.Get("Ce-" + envelope.Attempt))
	if err != nil {
		return err
	}
	if e.Steps == nil {
		e.Steps = map[string]envelope.Value{}
	}
	for _, step := range []string{"first", "second", "third"} {
		e.Steps[step] = envelope.Value{JSON: json.RawMessage(`{"text":"` + strings.Repeat("y", 300) + `"}`)}
		e.Records = append(e.Records, recordOf(step, epoch))
	}
	e.Plans = nil
	if data, err = e.Encode(); err != nil {
		return err
	}
	q := httptest.NewRequestWithContext(r.Context(), http.MethodPost, compile.ReplyPath, bytes.NewReader(data))
	q.Header = r.Header.Clone()
	length, sum := envelope.Stamp(data)
	q.Header.Set("Ce-"+envelope.DataLength, length)
	q.Header.Set("Ce-"+envelope.DataSHA256, sum)
	answer := httptest.NewRecorder()
	a.reply.ServeHTTP(answer, q)
	if answer.Code != http.StatusAccepted {
		return fmt.Errorf("the reply: %d %s", answer.Code, answer.Body)
	}
	return nil
}

// runOne starts an execution and waits for its end.
func (r *recorded) runOne(ctx context.Context) error {
	if status, body := r.request(ctx, http.MethodPost, startPath, document(), contract.PreferHeader, "wait=60"); status != http.StatusOK {
		return fmt.Errorf("expected 200, got %d: %.300s", status, body)
	}
	return nil
}

// running prints what a whole execution takes whose three steps answer at once: the
// service, its rows, a post and a reply, and no function.
func (o *options) running(ctx context.Context, w *records) (rows []row, err error) {
	channel := newAnswering()
	defer channel.server.Close()
	r, err := w.open(ctx, channel)
	if err != nil {
		return nil, err
	}
	defer r.close()
	channel.reply = r.service.Handler()
	if err := r.service.Start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if failed := r.service.Stop(stopping); err == nil {
			err = failed
		}
	}()
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	var alone []time.Duration
	var rates, perCore []float64
	for i := range o.rounds {
		for began := time.Now(); time.Since(began) < o.turn/2; {
			at := time.Now()
			if err := r.runOne(ctx); err != nil {
				return nil, err
			}
			alone = append(alone, time.Since(at))
		}
		before, err := self.cpu()
		if err != nil {
			return nil, err
		}
		database, err := w.processor()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		rate, err := repeat(ctx, 4*writers, o.turn, r.runOne)
		if err != nil {
			return nil, err
		}
		n := rate * time.Since(began).Seconds()
		after, err := self.cpu()
		if err != nil {
			return nil, err
		}
		later, err := w.processor()
		if err != nil {
			return nil, err
		}
		rates = append(rates, rate)
		perCore = append(perCore, n/(after-before+later-database).Seconds())
		progress("whole executions, round %d of %d: %.1f ms one at a time, %.0f/s by %d callers, %.0f for each second of a processor",
			i+1, o.rounds, 1000*median(alone).Seconds(), rate, 4*writers, perCore[i])
	}
	what := fmt.Sprintf("whole executions of three steps that answer at once, %d callers (%.0f/s), for each second of a processor", 4*writers, median(rates))
	return []row{
		{what, "—", fmt.Sprintf("%.0f (%.0f to %.0f)", median(perCore), minOf(perCore), maxOf(perCore)), "—", true},
		{"the same, one at a time, from the start to the answer", "—", fmt.Sprintf("%.1f ms", 1000*median(alone).Seconds()), "—", true},
	}, nil
}
