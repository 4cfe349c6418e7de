package screen_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local/activator"
	"github.com/modelserveai/modelserve/local/screen"
)

func TestScreen(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := screen.New(&out, false)
	row := screen.Function{Name: "text-detect", URL: "http://text-detect.default.localhost:8080/", State: "building", Revision: "text-detect-00001"}
	s.Update([]screen.Function{row}) // before the start nothing is printed
	s.Start(screen.View{
		Functions: []screen.Function{row}, Server: "http://localhost:8080", Key: "ms_x_y",
		Commands: []string{"try it", "curl x"},
	})
	row.State = "starting"
	s.Update([]screen.Function{row})
	row.State, row.Instances = "ready", 2
	s.Update([]screen.Function{row})
	s.Update([]screen.Function{row})
	s.Line("text-detect", []byte(`{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"slow","service":"text-detect","ms":119551836,"to":"a b"}`))
	s.Line("text-detect", []byte("panic: \x1b[2J\x07gone"))
	s.Line("text-detect", []byte(`{"level":"INFO","msg":"name \u001b[31m"}`))
	s.Cold(activator.Cold{Service: "text-detect", Total: 90 * time.Millisecond, Parts: []activator.Part{{Name: "start", Duration: 62 * time.Millisecond}}})
	s.Cold(activator.Cold{Service: "text-detect", FromZero: true, Total: 412 * time.Millisecond, Parts: []activator.Part{{Name: "schedule", Duration: 2100 * time.Microsecond}, {Name: "start", Duration: 62 * time.Millisecond}}})
	s.Problem(errors.New("first\nsecond"))
	slog.New(s.Handler("platform")).Warn("instance failed", "reason", "told to die")
	s.Update(nil)
	s.Stop()
	s.Stop()
	want := `FUNCTION     URL                                         STATE     REVISION           INSTANCES  
text-detect  http://text-detect.default.localhost:8080/  building  text-detect-00001  0          

The API key is ms_x_y

# try it
  curl x

ModelServe is at http://localhost:8080. Ctrl-C stops it.

text-detect │ ready, 2 instances
text-detect │ warning: slow ms=119551836 to="a b"
text-detect │ panic: [2Jgone
text-detect │ name [31m
text-detect │ first answer of another instance in 90 ms: start 62
text-detect │ first answer from zero in 412 ms: schedule 2.1, start 62
platform    │ first
platform    │ second
platform    │ warning: instance failed reason="told to die"
text-detect │ removed
ModelServe has stopped.
`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}
