package standalone

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	gatewaypostgres "github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/contract"
)

// charges holds that what an answer's steps took is in the gateway's usage, though the
// process began before the gateway had made its database.
func (w *world) charges(t *testing.T, r *running) {
	t.Helper()
	if status, body := r.ask(t, http.MethodPost, contract.PathOf(contract.StartPath, "two"), "acme", []byte(`{"content": "aGk="}`)); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	var sent *http.Request
	select {
	case sent = <-w.events:
	case <-time.After(10 * time.Minute):
		t.Fatal("no event was sent")
	}
	record := func(step string) envelope.Record {
		return envelope.Record{Step: step, Epoch: 1, StartedAt: time.Now(), FinishedAt: time.Now(), Model: "content-detect@1;digest=sha256:0", Rows: 2, ComputeMS: 1.25}
	}
	one := envelope.Value{JSON: json.RawMessage(`1`)}
	data, err := (&envelope.Envelope{Input: one, Steps: map[string]envelope.Value{"a": one, "b": one}, Records: []envelope.Record{record("a"), record("b")}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+compile.ReplyPath, strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Ce-Ticket", sent.Header.Get("Ce-Ticket"))
		length, sum := envelope.Stamp(data)
		req.Header.Set("Ce-"+envelope.DataLength, length)
		req.Header.Set("Ce-"+envelope.DataSHA256, sum)
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusAccepted {
			t.Fatalf("%v: %+v", err, res)
		}
		_ = res.Body.Close()
	}
	store, err := gatewaypostgres.Open(t.Context(), w.gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	today := usage.DayOf(time.Now())
	query := &usage.Query{Tenant: "acme", From: today - 1, To: today + 2, By: usage.By{Tenant: true, Model: true}, Limit: 10}
	eventually(t, "its steps are charged", func() error {
		rows, err := store.Usage(t.Context(), query)
		if err != nil || len(rows) == 0 {
			return fmt.Errorf("no usage, %w", err)
		}
		want := []usage.Row{{Key: usage.Key{Tenant: "acme", Model: "content-detect"}, Counts: usage.Counts{Requests: 2, Rows: 4, Compute: 2500}}}
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		return nil
	})
}
