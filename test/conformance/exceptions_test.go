package conformance

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// kind is why a model of the suite is not served with the expected answer.
type kind string

const (
	served     kind = "" // it is
	notLoaded  kind = "ONNX Runtime does not load it"
	notCarried kind = "the protocol cannot carry it"
	notRun     kind = "ONNX Runtime does not run it"
	random     kind = "served; the answer is drawn"
	differs    kind = "served; ONNX Runtime alone differs from the reference, too"
	failed     kind = "FAILED"
)

// exception is a kind, and the message.
type exception struct {
	kind   kind
	detail string
}

func (e exception) String() string {
	if e.kind == served {
		return "served"
	}
	return fmt.Sprintf("%q: %s", string(e.kind), e.detail)
}

// outcome is what came of one model.
type outcome struct {
	exception

	name    string
	example bool // it is published with an example request only
}

const exceptionsFile = "testdata/exceptions.txt"

// readExceptions reads name, kind and detail from each line.
func readExceptions(t *testing.T) map[string]exception {
	t.Helper()
	text, err := os.ReadFile(exceptionsFile)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]exception{}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), "\t", 3)
		if len(parts) != 3 {
			t.Fatalf("%s: expected name, kind and detail in %q", exceptionsFile, line)
		}
		known[parts[0]] = exception{kind(parts[1]), parts[2]}
	}
	return known
}

// tally gathers outcomes of tests that run at once.
type tally struct {
	mu       sync.Mutex
	outcomes []outcome
}

func (y *tally) add(o outcome) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.outcomes = append(y.outcomes, o)
}

// finish prints the summary, and writes the exceptions where that is asked for.
func (y *tally) finish(t *testing.T, known map[string]exception) {
	t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	count, examples := map[kind]int{}, 0
	for _, o := range y.outcomes {
		count[o.kind]++
		if o.example {
			examples++
		}
	}
	passed := count[served]
	t.Logf("%d of %d models are served by JSON, binary and gRPC with the expected answer; %d of all were published with an example request",
		passed, len(y.outcomes), examples)
	delete(count, served)
	for _, k := range slices.Sorted(maps.Keys(count)) {
		t.Logf("%4d %s", count[k], k)
	}
	y.stopped(t, known)
	if *all && *update {
		y.write(t)
	}
}

// stopped names the models that were served and are no longer, and those that
// are and need not be excepted.
func (y *tally) stopped(t *testing.T, known map[string]exception) {
	t.Helper()
	for _, o := range y.outcomes {
		_, excepted := known[o.name]
		switch {
		case o.kind == failed:
			t.Logf("FAILED %s", o.name)
		case o.kind != served && !excepted:
			t.Logf("no longer served: %s: %s", o.name, o.exception)
		case excepted && o.kind == served:
			t.Logf("served now, so no exception: %s", o.name)
		}
	}
}

func (y *tally) write(t *testing.T) {
	t.Helper()
	var lines []string
	for _, o := range y.outcomes {
		if o.kind != served && o.kind != failed {
			lines = append(lines, o.name+"\t"+string(o.kind)+"\t"+o.detail+"\n")
		}
	}
	slices.Sort(lines)
	if err := os.WriteFile(exceptionsFile, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Error(err)
	}
}
