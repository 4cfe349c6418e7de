package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

const script = "#!/bin/sh\necho hello\n"

// cloudEvents sends events with the CloudEvents SDK for Go to a function's own
// URL, and reads the answers with it.
func cloudEvents(t *testing.T, p *platform) {
	t.Logf("versions: CloudEvents SDK for Go %s", moduleVersion(t, "go.mod", "github.com/cloudevents/sdk-go/v2"))
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	encodings := map[string]func(context.Context) context.Context{"binary": binding.WithForceBinary, "structured": binding.WithForceStructured}
	for name, encoding := range encodings {
		t.Run(name, func(t *testing.T) {
			e := uploaded(t, "e-"+name, "x-1")
			got := p.send(t, encoding(ctx), e, name)
			if got.Type() != "dev.modelserve.content-detect.answered.v1" || got.Extensions()["caseid"] != "x-1" {
				t.Errorf("answered by %s", got)
			}
			var data struct {
				Label  string
				IsText bool `json:"is_text"`
			}
			if err := got.DataAs(&data); err != nil || data.Label == "" || !data.IsText {
				t.Errorf("its data: %v, %+v", err, data)
			}
		})
	}
	t.Run("an attribute that is not ASCII", func(t *testing.T) {
		e := uploaded(t, "e-utf8", "x-2")
		e.SetExtension("caseid", "zwölf ü")
		got := p.send(t, binding.WithForceStructured(ctx), e, "structured")
		if got.Extensions()["caseid"] != "zwölf ü" {
			t.Errorf("answered by %s", got)
		}
	})
	t.Run("a batch is refused in words", func(t *testing.T) {
		body, err := json.Marshal([]event.Event{uploaded(t, "e1", "x-1"), uploaded(t, "e2", "x-1")})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", event.ApplicationCloudEventsBatchJSON)
		if status, _, body := p.ask(t, req); status != http.StatusUnsupportedMediaType || !bytes.Contains(body, []byte("batch")) {
			t.Errorf("status %d, want 415: %s", status, body)
		}
	})
	t.Run("many at once get their own", func(t *testing.T) {
		for i := range 32 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				id := fmt.Sprintf("x-%d", i)
				mode := []string{"binary", "structured"}[i%2]
				got := p.send(t, encodings[mode](t.Context()), uploaded(t, "e-"+id, id), mode)
				if got.Extensions()["caseid"] != id {
					t.Errorf("answered by %s, want execution %s", got, id)
				}
			})
		}
	})
}

func uploaded(t *testing.T, id, execution string) event.Event {
	t.Helper()
	e := event.New()
	e.SetID(id)
	e.SetSource("/uploads")
	e.SetType("dev.modelserve.document.uploaded.v1")
	e.SetTime(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC))
	e.SetExtension("caseid", execution)
	if err := e.SetData("application/octet-stream", []byte(script)); err != nil {
		t.Fatal(err)
	}
	return e
}

// send sends an event to content-detect, in the mode that the context sets, and
// gives the event that it is answered by, which is to have that mode too.
func (p *platform) send(t *testing.T, ctx context.Context, e event.Event, mode string) *event.Event {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&e), req); err != nil {
		t.Fatal(err)
	}
	status, header, body := p.ask(t, req)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	message := cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body)))
	if got := message.ReadEncoding().String(); got != mode {
		t.Errorf("answered in %s mode, want %s", got, mode)
	}
	got, err := binding.ToEvent(ctx, message)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	return got
}

// ask sends a request to content-detect's own host.
func (p *platform) ask(t *testing.T, req *http.Request) (status int, header http.Header, body []byte) {
	t.Helper()
	req.Host = p.Host("content-detect")
	req.Header.Set("X-API-Key", p.Key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}
