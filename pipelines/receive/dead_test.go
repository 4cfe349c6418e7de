package receive

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/problem"
)

func TestWhatADeadLetterSays(t *testing.T) {
	t.Parallel()
	const (
		step    = "http://two.default.svc.cluster.local/?plan=aa&pipeline=bb&key=cc&sig=dd"
		channel = "http://chain-v1-s0-kn-sequence-2-kn-channel.default.svc.cluster.local"
		service = "http://modelserve-pipelines.default.svc.cluster.local/events/reply"
	)
	said := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		destination, code, data string
		want                    execution.Verdict
		step                    string
		problem                 problem.Code
		after                   time.Duration
	}{
		"a fault of the input":             {step, "400", said(`{"code":"invalid_argument","retry_after":0,"step":"second","status":400,"detail":"image: no"}`), execution.Dead, "second", problem.InvalidArgument, 0},
		"too many":                         {step, "429", said(`{"code":"overloaded","retry_after":7,"step":"second","status":429,"detail":"full"}`), execution.Retry, "second", problem.Overloaded, 7 * time.Second},
		"its event was damaged":            {step, "422", said(`{"code":"event_damaged","step":"second"}`), execution.Break, "second", problem.EventDamaged, 0},
		"a proxy before it":                {step, "503", said(`no healthy upstream`), execution.Break, "", "", 0},
		"its own failure, in other words":  {step, "500", said(`oops`), execution.Break, "", "", 0},
		"an answer that is cut":            {step, "400", said(`{"code":"invalid_argument","retry_aft`), execution.Dead, "", "", 0},
		"data that is no base64":           {step, "503", "%%%", execution.Break, "", "", 0},
		"nothing answered":                 {step, "-1", "", execution.Break, "", "", 0},
		"no code":                          {step, "", "", execution.Break, "", "", 0},
		"its answer, by the next channel":  {channel, "404", said("404 page not found"), execution.Break, "", problem.BadGateway, 0},
		"its answer, by this service":      {service, "503", said(`{"code":"unavailable"}`), execution.Break, "", problem.BadGateway, 0},
		"its answer, which this refused":   {service, "403", "", execution.Break, "", problem.BadGateway, 0},
		"a destination that does not read": {"::", "400", "", execution.Break, "", problem.BadGateway, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &arrival{envelope: &envelope.Envelope{}, header: http.Header{
				"Ce-Knativeerrordest": {c.destination}, "Ce-Knativeerrorcode": {c.code}, "Ce-Knativeerrordata": {c.data},
			}}
			f := a.failure()
			if got := f.Verdict(); got != c.want || f.Step != c.step || f.Problem.Code != string(c.problem) || f.RetryAfter != c.after {
				t.Errorf("%s, %+v", got, f)
			}
		})
	}
}

// TestTapsThatWaitAreSmall holds that what waits to be recorded has no values of the event.
func TestTapsThatWaitAreSmall(t *testing.T) {
	t.Parallel()
	r := &Receiver{taps: make(chan arrival, 1)}
	e := &envelope.Envelope{
		Input:   envelope.Value{JSON: []byte(`"a large one"`)},
		Steps:   map[string]envelope.Value{"one": {JSON: []byte("1")}},
		Records: []envelope.Record{{Step: "zero"}, {Step: "one"}},
	}
	if err := r.tap(t.Context(), &arrival{header: http.Header{"Ce-Id": {"1"}}, envelope: e}); err != nil {
		t.Fatal(err)
	}
	got := <-r.taps
	if got.header != nil || got.envelope.Input.JSON != nil || got.envelope.Steps != nil || len(got.envelope.Records) != 1 || got.envelope.Records[0].Step != "one" {
		t.Errorf("there waits %+v of %+v", got.envelope, got)
	}
}
