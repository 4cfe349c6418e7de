package local_test

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/test/historytest"
)

// What TestAKilledPlatformLosesNoExecution does. Another -seed kills at other moments.
var (
	killExecutions = flag.Int("kill-executions", 300, "how many executions are started while the platform is killed")
	platformKills  = flag.Int("platform-kills", 4, "how often it is killed")
	killSeed       = flag.Uint64("kill-seed", 0, "of the moments; 0 is another at each run")
)

const killedPipeline = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: killed}
spec:
  steps:
    - {name: first, function: echo, input: 'input'}
    - {name: second, function: echo, input: 'steps.first'}
    - {name: third, function: echo, input: 'steps.second'}
`

// TestAKilledPlatformLosesNoExecution holds that each execution that was accepted ends
// once, with its output, though the platform's process is killed with all that it does,
// at random moments, and started again over the same folder.
func TestAKilledPlatformLosesNoExecution(t *testing.T) {
	t.Parallel()
	seed := *killSeed
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again: -run %s -kill-seed %d", t.Name(), seed)
	random := rand.New(rand.NewPCG(seed, 1))
	p := prepare(t)
	p.edit("testdata/echo", "testdata/step")
	p.edit("path: /readyz", "path: /v2/health/ready")
	p.start()
	p.register(killedPipeline)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // generous: it takes seconds
	defer cancel()
	run := &historytest.Run{URL: "http://" + p.address, Key: p.key(), Pipeline: "killed", Steps: []string{"first", "second", "third"}}

	worked := make(chan error, 1)
	go func() { worked <- run.Work(ctx, *killExecutions, 8, strconv.Itoa) }()
	for _, after := range moments(random) {
		for run.Ended() < after && ctx.Err() == nil {
			pause(t)
		}
		<-time.After(time.Duration(random.IntN(300)) * time.Millisecond) // whatever they are at
		p.kill()
		p.start()
	}
	if err := <-worked; err != nil {
		t.Error(err)
	}
	tally, faults := run.Check(ctx, func(key string) string {
		return strconv.Itoa(historytest.Number(key) + 3)
	})
	for _, err := range faults {
		t.Error(err)
	}
	t.Logf("%d accepted, killed %d times: %+v", len(run.IDs()), *platformKills, tally)
	p.signal(os.Interrupt)
	p.holdsOnce(run)
}

// moments are after how many executions that have ended the platform is killed.
func moments(random *rand.Rand) []int {
	all := make([]int, *platformKills)
	for i := range all {
		all[i] = random.IntN(*killExecutions * 9 / 10)
	}
	slices.Sort(all)
	return all
}

// register registers a pipeline.
func (p *platform) register(text string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.address+contract.PipelinesPath, bytes.NewReader([]byte(text)))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", p.key())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		p.t.Fatalf("register: %s", res.Status)
	}
}

// holdsOnce looks into the database of a platform that has ended: of each execution each
// step has one output, and nothing is due.
func (p *platform) holdsOnce(run *historytest.Run) {
	p.t.Helper()
	store, err := sqlite.Open(p.t.Context(), filepath.Join(p.data, "pipelines.db"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer store.Close()
	again := 0
	for _, id := range run.IDs() {
		loaded, err := store.Load(p.t.Context(), id)
		if err != nil || len(loaded.Branches) > 0 {
			p.t.Errorf("of execution %s is due %+v, %v", id, loaded, err)
			continue
		}
		values, err := store.Values(p.t.Context(), id, run.Steps)
		if err != nil || loaded.Execution.Output != nil && len(values) != len(run.Steps) {
			p.t.Errorf("execution %s has %d outputs, %v", id, len(values), err)
		}
		if slices.ContainsFunc(loaded.Execution.Steps, func(s execution.Step) bool { return s.Breaks > 0 }) {
			again++
		}
	}
	p.t.Logf("%d were sent again, because a kill met them", again)
}
