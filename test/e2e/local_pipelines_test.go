package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/test/platformtest"
)

// documents are images with what is written on them, those aside that the models are
// known to misread (functions/text-recognize/README.md).
func documents(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(platformtest.Root(t), "functions/text-detect/testdata/truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]string
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chinese.png", "column.png", "transparent.png"} {
		delete(all, name)
	}
	if len(all) < 10 {
		t.Fatalf("only %d documents", len(all))
	}
	return all
}

// ranOn is what `pipelines run` of several files prints as JSON.
type ranOn struct {
	Executions []struct {
		File      string              `json:"file"`
		Execution *contract.Execution `json:"execution"`
		Error     string              `json:"error"`
	} `json:"executions"`
}

// textsOf are the lines that a document's execution read.
func textsOf(t *testing.T, output json.RawMessage) []string {
	t.Helper()
	var read struct {
		Lines []struct {
			Text string `json:"text"`
		} `json:"lines"`
	}
	if err := json.Unmarshal(output, &read); err != nil || read.Lines == nil {
		t.Fatalf("no lines in %s: %v", output, err)
	}
	texts := []string{}
	for _, line := range read.Lines {
		texts = append(texts, line.Text)
	}
	return texts
}

// documentsAreRead runs read-document on every image, as a user does.
func documentsAreRead(t *testing.T, p *platform) {
	truth := documents(t)
	folder := filepath.Join(platformtest.Root(t), "functions/text-detect/testdata")
	args := []string{"pipelines", "run", "read-document", "-o", "json", "--label", "suite=documents"}
	for name := range truth {
		args = append(args, filepath.Join(folder, name))
	}
	out, err := p.Run(t, args...)
	var ran ranOn
	if decodeErr := json.Unmarshal([]byte(out), &ran); err != nil || decodeErr != nil {
		t.Fatalf("%v, %v:\n%s", err, decodeErr, out)
	}
	for _, one := range ran.Executions {
		name := filepath.Base(one.File)
		if diff := cmp.Diff(truth[name], textsOf(t, one.Execution.Output)); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
		for _, step := range one.Execution.Steps {
			if step.Status != contract.Succeeded || step.Attempts != 1 || !strings.Contains(step.Model, "@1;digest=sha256:") || step.Device != "cpu" {
				t.Errorf("%s: step %+v", name, step)
			}
		}
	}
	if out, err := p.Run(t, "pipelines", "run", "read-document", filepath.Join(folder, "page.png")); err != nil || out != strings.Join(truth["page.png"], "\n")+"\n" {
		t.Errorf("page.png as text: %v\n%s", err, out)
	}
}

// filesAreTriaged runs triage on what it reads, and on what it does not.
func filesAreTriaged(t *testing.T, p *platform) {
	root := platformtest.Root(t)
	for file, want := range map[string]string{
		"functions/text-detect/testdata/page.png":     `"lines":[{"polygon"`,
		"functions/speech-detect/testdata/speech.wav": `"segments":[{"end"`,
		"go.mod": `"label":"`,
	} {
		out, err := p.Run(t, "pipelines", "run", "triage", filepath.Join(root, file), "-o", "json")
		var x contract.Execution
		if decodeErr := json.Unmarshal([]byte(out), &x); err != nil || decodeErr != nil {
			t.Errorf("%s: %v, %v:\n%s", file, err, decodeErr, out)
			continue
		}
		if compact, err := json.Marshal(x.Output); err != nil || !strings.Contains(string(compact), want) {
			t.Errorf("%s is answered %s, want %s in it", file, compact, want)
		}
	}
}

// whatIsNoImageIsADeadLetter holds what becomes of a step that fails for good.
func whatIsNoImageIsADeadLetter(t *testing.T, p *platform) {
	out, err := p.Run(t, "pipelines", "run", "read-document", filepath.Join(platformtest.Root(t), "go.mod"), "--label", "suite=dead")
	if err == nil || !strings.Contains(out, "not an image that is read here") {
		t.Fatalf("%v:\n%s", err, out)
	}
	var letters contract.DeadLetters
	out, err = p.Run(t, "dead-letters", "list", "--pipeline", "read-document", "-o", "json")
	if decodeErr := json.Unmarshal([]byte(out), &letters); err != nil || decodeErr != nil || len(letters.DeadLetters) != 1 {
		t.Fatalf("%v, %v:\n%s", err, decodeErr, out)
	}
	if l := letters.DeadLetters[0]; l.Step != "detect" || l.Attempts != 1 || l.Error == nil || l.Error.Status != 400 {
		t.Errorf("the dead letter is %+v", l)
	}
	page := filepath.Join(platformtest.Root(t), "functions/text-detect/testdata/page.png")
	if out, err = p.Run(t, "dead-letters", "replay", letters.DeadLetters[0].ID, "--input", page); err != nil {
		t.Errorf("replay with another input: %v:\n%s", err, out)
	}
}

// pipelinesOutliveAKill holds the promise of a 202: what a killed platform had accepted
// ends well after it is started again.
func pipelinesOutliveAKill(t *testing.T, p *platform, again func() *platform) {
	const n = 20
	page := filepath.Join(platformtest.Root(t), "functions/text-detect/testdata/page.png")
	args := []string{"pipelines", "run", "read-document", "--detach", "--label", "suite=kill"}
	for range n {
		args = append(args, page)
	}
	if out, err := p.Run(t, args...); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	ended := func(p *platform) []contract.Execution {
		out, err := p.Run(t, "executions", "list", "--label", "suite=kill", "--limit", "0", "-o", "json")
		var page contract.Executions
		if decodeErr := json.Unmarshal([]byte(out), &page); err != nil || decodeErr != nil {
			t.Fatalf("%v, %v:\n%s", err, decodeErr, out)
		}
		return slices.DeleteFunc(page.Executions, func(x contract.Execution) bool { return !x.Status.Ended() })
	}
	p.Eventually(t, "one has ended", 2*time.Minute, func() error {
		if len(ended(p)) == 0 {
			return fmt.Errorf("none has")
		}
		return nil
	})
	p.Kill(t)
	p = again()
	p.Eventually(t, "all have ended", 5*time.Minute, func() error {
		if done := len(ended(p)); done != n {
			return fmt.Errorf("%d of %d have", done, n)
		}
		return nil
	})
	want := documents(t)["page.png"]
	for _, x := range ended(p) {
		out, err := p.Run(t, "executions", "get", x.ID, "--result")
		if err != nil || x.Status != contract.Succeeded {
			t.Errorf("%s %s: %v\n%s", x.ID, x.Status, err, out)
			continue
		}
		if diff := cmp.Diff(want, textsOf(t, json.RawMessage(out))); diff != "" {
			t.Errorf("%s (-written +read):\n%s", x.ID, diff)
		}
		for _, step := range x.Steps {
			if step.Attempts != 1 {
				t.Errorf("%s: %s was tried %d times: a restart counts as none", x.ID, step.Name, step.Attempts)
			}
		}
	}
}
