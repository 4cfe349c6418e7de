//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

// What these tests register, each under a name of its own. The one begins with functions
// that are at zero, and has a condition, a repetition and a join.
const (
	pipelineLine = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: e2e-line}
spec:
  steps:
    - {name: detect, function: text-detect, input: '{"image": input.image}', timeout: 60s}
    - {name: orient, function: text-orient, input: '{"image": input.image, "polygons": steps.detect.boxes.map(b, b.polygon)}', timeout: 60s}
    - {name: read, function: text-recognize, input: '{"image": input.image, "polygons": steps.detect.boxes.map(b, b.polygon)}', timeout: 60s}
  output: '{"lines": steps.read.lines.map(l, l.text), "upside_down": steps.orient.lines.filter(l, l.orientation == 180).size()}'
`
	pipelineGraph = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: e2e-graph}
spec:
  steps:
    - {name: kind, function: content-detect, input: '{"content": input.image}'}
    - {name: detect, function: text-detect, needs: [kind], when: 'steps.kind.label == "png"', input: '{"image": input.image}', timeout: 60s}
    - {name: speech, function: speech-detect, needs: [kind], when: 'steps.kind.label == "wav"', input: '{"audio": input.image}', timeout: 60s}
    - name: each
      function: text-recognize
      needs: [detect]
      forEach: {items: 'steps.detect.boxes', max: 200, at_once: 4, join: all}
      input: '{"image": input.image, "polygons": [item.polygon]}'
      timeout: 60s
    - {name: last, function: content-detect, needs: [each, speech], input: '{"content": input.image}'}
  output: '{"lines": steps.each.map(e, e.lines[0].text), "kind": steps.last.label, "speech": steps.speech}'
`
)

// TestClusterPipelines runs pipelines through Knative's channels: in a line, in a graph,
// with a step that fails, and while their objects are changed and their processes end.
func TestClusterPipelines(t *testing.T) {
	p := cluster(t)
	for _, name := range []string{"e2e-line", "e2e-graph"} {
		t.Cleanup(func() { _, _ = p.Run(t, "pipelines", "delete", name, "--yes") })
	}
	p.register(t, pipelineLine)
	p.register(t, pipelineGraph)
	t.Run("a line from zero", func(t *testing.T) { lineFromZero(t, p) })
	t.Run("a graph", func(t *testing.T) { graph(t, p) })
	t.Run("a step that fails", func(t *testing.T) { stepFails(t, p) })
	t.Run("a call that is answered later", func(t *testing.T) { answeredLater(t, p) })
	t.Run("its objects are held", func(t *testing.T) { objectsAreHeld(t, p) })
	t.Run("channels take nothing without a ticket", func(t *testing.T) { noTicket(t, p) })
	t.Run("its service ends", func(t *testing.T) { processesEnd(t, p, "default", "app.kubernetes.io/name=modelserve-pipelines") })
	t.Run("the channels end", func(t *testing.T) {
		processesEnd(t, p, "knative-eventing", "messaging.knative.dev/channel=in-memory-channel,messaging.knative.dev/role=dispatcher")
	})
	t.Run("a function ends", func(t *testing.T) { processesEnd(t, p, "default", "serving.knative.dev/service=text-recognize") })
	t.Run("a version that nothing needs", func(t *testing.T) { oldVersionGoes(t, p) })
}

// register registers a pipeline, once its service answers: other tests end it, and
// its database. It waits for nothing else.
func (p *platform) register(t *testing.T, text string) contract.Pipeline {
	t.Helper()
	var res *response
	p.Eventually(t, "the pipelines service answers", 3*time.Minute, func() error {
		res = p.must(t, request{path: contract.PipelinesPath, body: []byte(text), header: map[string]string{"Content-Type": "application/yaml"}})
		if res.status == http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", res.status, res.body)
		}
		return nil
	})
	if res.status != http.StatusCreated && res.status != http.StatusOK {
		t.Fatalf("%d %s", res.status, res.body)
	}
	return decoded[contract.Pipeline](t, res)
}

func decoded[T any](t *testing.T, res *response) (v T) {
	t.Helper()
	if err := json.Unmarshal(res.body, &v); err != nil {
		t.Fatalf("%d %s: %v", res.status, res.body, err)
	}
	return v
}

// pageInput is an input whose image is the test page.
func pageInput(t *testing.T) []byte {
	t.Helper()
	return fmt.Appendf(nil, `{"image": %q}`, base64.StdEncoding.EncodeToString(testdata(t, "functions/text-detect/testdata/page.png")))
}

// begin starts an execution and returns its id.
func (p *platform) begin(t *testing.T, pipeline string, input []byte) string {
	t.Helper()
	res := p.must(t, request{path: contract.PathOf(contract.StartPath, pipeline), body: input, header: map[string]string{"Content-Type": "application/json"}})
	if res.status != http.StatusAccepted {
		t.Fatalf("%d %s", res.status, res.body)
	}
	return decoded[contract.Execution](t, res).ID
}

func (p *platform) execution(t *testing.T, id string) (x contract.Execution, err error) {
	t.Helper()
	res, err := p.do(t, request{path: contract.PathOf(contract.ExecutionPath, id)})
	if err != nil {
		return x, err
	}
	if res.status != http.StatusOK {
		return x, fmt.Errorf("%d %s", res.status, res.body)
	}
	return x, json.Unmarshal(res.body, &x)
}

// ended waits until an execution has ended.
func (p *platform) ended(t *testing.T, id string) (x contract.Execution) {
	t.Helper()
	p.Eventually(t, "execution "+id+" ends", 5*time.Minute, func() (err error) {
		if x, err = p.execution(t, id); err == nil && !x.Status.Ended() {
			err = fmt.Errorf("it is %s: %+v", x.Status, x.Steps)
		}
		return err
	})
	return x
}

// succeeded is ended, of one that has to have succeeded.
func (p *platform) succeeded(t *testing.T, id string) contract.Execution {
	t.Helper()
	x := p.ended(t, id)
	if x.Status != contract.Succeeded {
		t.Fatalf("%s: %+v, steps %+v", x.Status, x.Error, x.Steps)
	}
	return x
}

func lineFromZero(t *testing.T, p *platform) {
	p.atZero(t, "text-detect", "text-orient", "text-recognize")
	x := p.succeeded(t, p.begin(t, "e2e-line", pageInput(t)))
	matches(t, `^\{"lines":\["`, x.Output)
	for _, s := range x.Steps {
		if s.Status != contract.Succeeded || s.Model == "" || s.Device != "cpu" || s.StartedAt == nil || s.FinishedAt == nil || s.FinishedAt.Before(*s.StartedAt) || s.ComputeMS <= 0 {
			t.Errorf("step %s has no whole record: %+v", s.Name, s)
		}
	}
	sequences := sequencesOf(t, "e2e-line", x.Version)
	if len(sequences) != 1 || len(sequences[0].Spec.Steps) != 3 {
		t.Fatalf("it runs on %d Sequences", len(sequences))
	}
	if text := sequences[0].Annotations["pipelines.modelserve.dev/plan"]; !strings.Contains(text, `"function":"text-detect"`) {
		t.Errorf("kubectl shows no plan: %s", text)
	}
}

// sequencesOf are the Sequences of a version, by segment.
func sequencesOf(t *testing.T, pipeline string, version int) []flowsv1.Sequence {
	t.Helper()
	var list flowsv1.SequenceList
	out := mustTool(t, "kubectl", "get", "sequences", "-o", "json", "-l",
		fmt.Sprintf("pipelines.modelserve.dev/tenant=default,pipelines.modelserve.dev/pipeline=%s,pipelines.modelserve.dev/version=%d", pipeline, version))
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func graph(t *testing.T, p *platform) {
	x := p.succeeded(t, p.begin(t, "e2e-graph", pageInput(t)))
	matches(t, `"kind":"png"`, x.Output)
	matches(t, `"speech":null`, x.Output)
	want := map[string]contract.Status{
		"kind": contract.Succeeded, "detect": contract.Succeeded, "speech": contract.Skipped, "each": contract.Succeeded, "last": contract.Succeeded,
	}
	for _, s := range x.Steps {
		if s.Status != want[s.Name] {
			t.Errorf("step %s is %s, want %s", s.Name, s.Status, want[s.Name])
		}
		if s.Name == "each" && (s.Items == nil || s.Items.Total < 2 || s.Items.Succeeded != s.Items.Total) {
			t.Errorf("its items are %+v", s.Items)
		}
	}
}

// stepFails holds that what is the caller's fault is tried once, and is a dead letter.
func stepFails(t *testing.T, p *platform) {
	id := p.begin(t, "e2e-line", []byte(`{"image": "bm90IGFuIGltYWdl"}`))
	x := p.ended(t, id)
	if x.Status != contract.Failed || x.Error == nil || x.Steps[0].Attempts != 1 || x.Steps[0].Status != contract.Failed {
		t.Errorf("%s, %+v, %+v", x.Status, x.Error, x.Steps)
	}
	letters := decoded[contract.DeadLetters](t, p.must(t, request{path: contract.DeadLettersPath + "?execution=" + id}))
	if len(letters.DeadLetters) != 1 || letters.DeadLetters[0].Step != "detect" {
		t.Errorf("the dead letters are %+v", letters.DeadLetters)
	}
}

// answeredLater calls a function at zero, and fetches what it answered as the call itself
// would have had it.
func answeredLater(t *testing.T, p *platform) {
	p.atZero(t, "content-detect")
	r := classify(p)
	r.header["Prefer"] = "respond-async"
	res := p.must(t, r)
	at, err := url.Parse(res.header.Get("Location"))
	if err != nil || res.status != http.StatusAccepted || !strings.HasPrefix(at.Path, contract.ExecutionsPath+"/") {
		t.Fatalf("%d, at %q: %s", res.status, res.header.Get("Location"), res.body)
	}
	p.eventually(t, "it is answered", func() error {
		switch got, err := p.do(t, request{path: at.Path + "/result"}); {
		case err != nil:
			return err
		case got.status != http.StatusOK || !strings.Contains(string(got.body), `"label":"go"`):
			return fmt.Errorf("%d %s", got.status, got.body)
		default:
			return nil
		}
	})
}

// objectsAreHeld holds that a Sequence that somebody changes or deletes is put back, and
// runs what it ran before.
func objectsAreHeld(t *testing.T, p *platform) {
	x := p.succeeded(t, p.begin(t, "e2e-line", pageInput(t)))
	before := sequencesOf(t, "e2e-line", x.Version)[0]
	same := func() error {
		now := sequencesOf(t, "e2e-line", x.Version)
		if len(now) != 1 {
			return fmt.Errorf("there are %d Sequences", len(now))
		}
		want, _ := json.Marshal(before.Spec)
		got, _ := json.Marshal(now[0].Spec)
		if string(got) != string(want) {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	}
	for what, args := range map[string][]string{
		"a changed one": {"patch", "sequence", before.Name, "--type=json", "-p", `[{"op": "replace", "path": "/spec/steps/0/uri", "value": "/elsewhere"}]`},
		"a longer one":  {"patch", "sequence", before.Name, "--type=json", "-p", `[{"op": "add", "path": "/spec/reply/audience", "value": "nobody"}]`},
		"a deleted one": {"delete", "sequence", before.Name},
	} {
		mustTool(t, "kubectl", args...)
		p.eventually(t, what+" is put back", same)
		if again := p.succeeded(t, p.begin(t, "e2e-line", pageInput(t))); string(again.Output) != string(x.Output) {
			t.Errorf("after %s: %s, want %s", what, again.Output, x.Output)
		}
	}
}

// noTicket holds that whoever reaches a channel or a step's address without a ticket has
// nothing run by its plan.
func noTicket(t *testing.T, p *platform) {
	x := p.succeeded(t, p.begin(t, "e2e-line", pageInput(t)))
	step := sequencesOf(t, "e2e-line", x.Version)[0].Spec.Steps[0]
	plan := step.URI.String()
	res := p.must(t, request{host: p.Host("text-detect"), path: plan, body: []byte(`{"input": {}}`), header: map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": "dev.modelserve.step.requested.v1", "Ce-Source": "/e2e",
	}})
	if res.status < 400 || res.status > 499 {
		t.Errorf("by the gateway: %d %s", res.status, res.body)
	}
	to := addressOf(t, "sequence/"+sequencesOf(t, "e2e-line", x.Version)[0].Name)
	to.Body = io.NopCloser(strings.NewReader(`{"input": {}}`))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": "2", "Ce-Type": "dev.modelserve.step.requested.v1", "Ce-Source": "/e2e",
	} {
		to.Header.Set(name, value)
	}
	taken, err := http.DefaultClient.Do(to) // whatever it answers
	if err != nil {
		t.Fatal(err)
	}
	taken.Body.Close()
	list := decoded[contract.Executions](t, p.must(t, request{path: contract.ExecutionsPath + "?pipeline=e2e-line&limit=1"}))
	if len(list.Executions) != 1 || list.Executions[0].ID != x.ID {
		t.Errorf("an event without a ticket began %+v", list.Executions)
	}
}

// processesEnd kills pods while executions run: what was accepted ends, and each once.
func processesEnd(t *testing.T, p *platform, namespace, selector string) {
	var ids []string
	for range 6 {
		ids = append(ids, p.begin(t, "e2e-graph", pageInput(t)))
	}
	p.eventually(t, "one runs, and there is somebody to kill", func() error {
		x, err := p.execution(t, ids[0])
		if err == nil && x.Status == contract.Queued {
			err = fmt.Errorf("it is %s", x.Status)
		}
		if pods := mustTool(t, "kubectl", "-n", namespace, "get", "pods", "-l", selector, "--field-selector=status.phase=Running", "-o", "name"); err == nil && pods == "" {
			err = errors.New("there is no pod")
		}
		return err
	})
	out := mustTool(t, "kubectl", "-n", namespace, "delete", "pods", "-l", selector, "--force", "--grace-period=0")
	if !regexp.MustCompile(`pod "\S+" `).MatchString(out) {
		t.Fatalf("no pod was killed: %s", out)
	}
	var outputs []string
	for _, id := range ids {
		outputs = append(outputs, string(p.succeeded(t, id).Output))
	}
	if slices.Sort(outputs); len(slices.Compact(outputs)) != 1 {
		t.Errorf("the same input has other outputs: %v", slices.Compact(outputs))
	}
}

// oldVersionGoes holds that the objects of a version go when it is the default no more
// and nothing runs on it, and that a replay of it brings them back.
func oldVersionGoes(t *testing.T, p *platform) {
	old := p.succeeded(t, p.begin(t, "e2e-line", pageInput(t)))
	made := p.register(t, strings.Replace(pipelineLine, "timeout: 60s}", "timeout: 50s}", 1))
	if made.Version == old.Version {
		t.Fatalf("it is version %d still", made.Version)
	}
	p.Eventually(t, "the old version's objects are gone", 5*time.Minute, func() error {
		if n := len(sequencesOf(t, "e2e-line", old.Version)); n > 0 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	res := p.must(t, request{method: http.MethodPost, path: contract.PathOf(contract.ReplayPath, old.ID)})
	if res.status != http.StatusAccepted {
		t.Fatalf("%d %s", res.status, res.body)
	}
	again := p.succeeded(t, decoded[contract.Execution](t, res).ID)
	if again.Version != old.Version || string(again.Output) != string(old.Output) {
		t.Errorf("the replay is of version %d: %s", again.Version, again.Output)
	}
}
