package function

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// beside calls a model as often as there are rows, all at once, with the first
// of [n, 2] counting and the second the same, and returns the answers.
func (p *process) beside(t *testing.T, rows int) []string {
	t.Helper()
	answers := make([]string, rows)
	var all sync.WaitGroup
	for i := range rows {
		all.Go(func() {
			body := fmt.Sprintf(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[%d,7]}]}`, i)
			status, answer, err := p.ask(http.MethodPost, "/v2/models/double/infer", body)
			if err != nil || status != http.StatusOK {
				t.Errorf("%d %s, %v", status, answer, err)
			}
			answers[i] = answer
		})
	}
	all.Wait()
	return answers
}

const notJoined = "requests of a model are not joined"

// TestRowsAreJoinedWhereTheGraphShowsIt holds that a server does not join what a
// manifest allows to join, but what the graph shows that it runs: also where
// it has to optimise the model itself, as here.
func TestRowsAreJoinedWhereTheGraphShowsIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model  onnxtest.Model
		reason string // "" is joined
		answer func(i int) string
	}{
		"independent": {onnxtest.Scale(2, 2), "", func(i int) string { return fmt.Sprintf(`"data":[%d,14]`, 2*i) }},
		"a mean over the rows": {onnxtest.Mean(2), "ReduceMean", func(int) string {
			return `"data":[0,0]` // each alone is its own mean
		}},
	} {
		for where, dir := range map[string]string{"in a folder": "", "in memory": noCache} {
			t.Run(name+"/"+where, func(t *testing.T) {
				t.Parallel()
				environment := storage(t)
				if dir != "" {
					environment["MODELSERVE_CACHE_DIR"] = dir
				}
				publishBytes(t, environment, tc.model.Marshal())
				p := begin(t, Spec{Name: "double"}, environment)
				p.waitReady()
				for i, answer := range p.beside(t, 32) {
					if !strings.Contains(answer, tc.answer(i)) {
						t.Errorf("row %d: %s", i, answer)
					}
				}
				logged := p.log.String()
				if strings.Contains(logged, notJoined) != (tc.reason != "") || !strings.Contains(logged, tc.reason) {
					t.Errorf("expected %q in the log:\n%s", tc.reason, logged)
				}
				p.stop()
				if err := <-p.done; err != nil {
					t.Errorf("stop: %v", err)
				}
			})
		}
	}
}
