package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

// TestWhatIsErasedMeanwhile holds that payloads which are gone though the row has them, as
// where a deletion is on its way, are no fault of who asks.
func TestWhatIsErasedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.register("lines")
	x := s.start("/v1/pipelines/lines/executions", `"`+strings.Repeat("x", 100_000)+`"`)
	s.begin(x.ID)
	s.succeed(x.ID, "1")
	output, err := s.values.Keep(t.Context(), s.tenant, x.ID, "output", []byte(`"`+strings.Repeat("y", 100_000)+`"`))
	if err != nil {
		t.Fatal(err)
	}
	b := s.sent(x.ID)
	s.decide(x.ID, func(st *decide.State) (execution.Change, error) {
		answer := execution.Answer{Segment: b.Segment, Epoch: b.Epoch, Values: map[string]envelope.Value{"second": output}}
		answer.Records = []envelope.Record{{Step: "second", Epoch: b.Epoch, StartedAt: st.Now, FinishedAt: st.Now}}
		return st.Version.Machine.Answered(st.Execution, st.Branches, answer, said{output}, st.Now)
	})
	if got := s.do("GET", "/v1/executions/"+x.ID+"/result", ""); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if err := s.values.Erase(t.Context(), s.tenant, x.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.do("POST", "/v1/executions/"+x.ID+"/replay", ""); got.code() != problem.Conflict {
		t.Errorf("a replay: %d %s", got.status, got.body)
	}
	if got := s.do("GET", "/v1/executions/"+x.ID+"/result", ""); got.code() != problem.NotFound {
		t.Errorf("its result: %d %s", got.status, got.body)
	}
}
