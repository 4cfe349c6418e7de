//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/test/historytest"
)

// What TestClusterKilledPartsLoseNoExecution does. Another -kill-seed kills in another
// order, at other moments.
var (
	killExecutions = flag.Int("kill-executions", 1000, "how many executions are started while parts of the cluster are killed")
	killRounds     = flag.Int("kill-rounds", 2, "how often each part is killed")
	killSeed       = flag.Uint64("kill-seed", 0, "of the order and the moments; 0 is another at each run")
)

// killedPipeline's output shows its input, and what each step answered.
const killedPipeline = `
apiVersion: modelserve.dev/v1
kind: Pipeline
metadata: {name: %s}
spec:
  timeout: 15m
  steps:
    - {name: first, function: content-detect, input: '{"content": input.content}', timeout: 5s}
    - {name: second, function: content-detect, input: '{"content": steps.first.is_text ? input.content : ""}', timeout: 5s}
    - {name: third, function: content-detect, input: '{"content": steps.second.is_text ? input.content : ""}', timeout: 5s}
  output: '[input.n, steps.first.is_text && steps.second.is_text && steps.third.is_text ? 1 : 0]'
`

// part is what is killed: one of the pods of a selector, at random.
type part struct{ namespace, selector string }

// parts are all that an execution runs through or is stored in.
func parts() []part {
	return []part{
		{"default", "app.kubernetes.io/name=modelserve-pipelines"},
		{"knative-eventing", "messaging.knative.dev/channel=in-memory-channel,messaging.knative.dev/role=dispatcher"},
		{"default", "serving.knative.dev/service=content-detect"},
		{"default", "serving.knative.dev/service=gateway"},
		{"modelserve", "app=postgres"},
		{"modelserve", "app=redis"},
		{"modelserve", "app=s3"},
	}
}

// TestClusterKilledPartsLoseNoExecution holds that each execution that was accepted ends
// once or is reported failed, though all parts of the platform are killed meanwhile, as
// by a node without memory: one after the other, in random order.
func TestClusterKilledPartsLoseNoExecution(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test kills processes of the cluster that `make cluster` made")
	}
	p := cluster(t)
	seed := *killSeed
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again: -run %s -kill-seed %d", t.Name(), seed)
	random := rand.New(rand.NewPCG(seed, 1))
	twoReplicas(t)
	name := fmt.Sprintf("e2e-killed-%x", time.Now().UnixMilli()) // no execution of another run is its
	t.Cleanup(func() { _, _ = p.Run(t, "pipelines", "delete", name, "--yes") })
	p.register(t, fmt.Sprintf(killedPipeline, name))
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute) // generous: it takes some four
	defer cancel()
	run := &historytest.Run{URL: "http://" + p.Address, Key: p.Key, Pipeline: name, Steps: []string{"first", "second", "third"}}
	worked := make(chan error, 1)
	go func() { worked <- run.Work(ctx, *killExecutions, 8, killedInput) }()

	var victims []part
	for range *killRounds {
		for _, i := range random.Perm(len(parts())) {
			victims = append(victims, parts()[i])
		}
	}
	moments := make([]int, len(victims))
	for i := range moments {
		moments[i] = random.IntN(*killExecutions * 9 / 10)
	}
	slices.Sort(moments)
	for i, victim := range victims {
		p.Eventually(t, fmt.Sprintf("%d executions have ended, to kill %s", moments[i], victim.selector), 5*time.Minute, func() error {
			if n := run.Ended(); n < moments[i] {
				return fmt.Errorf("%d have", n)
			}
			return nil
		})
		p.eventually(t, "there is one to kill of "+victim.selector, func() error { return victim.kill(t, random) })
		t.Logf("after %d executions: killed one of %s", run.Ended(), victim.selector)
	}
	if err := <-worked; err != nil {
		t.Error(err)
	}
	tally, faults := run.Check(ctx, func(key string) string { return fmt.Sprintf("[%d,1]", historytest.Number(key)) })
	for _, err := range faults[:min(len(faults), 20)] {
		t.Error(err)
	}
	t.Logf("%d accepted, %d kills: %+v", len(run.IDs()), len(victims), tally)
}

// killedInput is an input: a small text, and at each tenth one that is a claim check.
func killedInput(n int) string {
	text := "a text of words, which is number " + strconv.Itoa(n) + "\n"
	if n%10 == 0 {
		text = strings.Repeat(text, 2000)
	}
	return fmt.Sprintf(`{"n": %d, "content": %q}`, n, base64.StdEncoding.EncodeToString([]byte(text)))
}

// twoReplicas has two pipelines services until the test ends. What one had sent when it
// was killed is sent again after the lease: with less time for a cold start that is soon.
func twoReplicas(t *testing.T) {
	t.Helper()
	const deployment, variable = "deployment/modelserve-pipelines", "MODELSERVE_PIPELINES_COLD_START"
	settle := func() error {
		_, err := kubectl(t, "rollout", "status", deployment, "--timeout=180s")
		return err
	}
	before := mustTool(t, "kubectl", "get", deployment, "-o", "jsonpath={.spec.replicas}")
	t.Cleanup(func() {
		_, err := kubectl(t, "set", "env", deployment, variable+"-")
		_, failed := kubectl(t, "scale", deployment, "--replicas="+before)
		if err := errors.Join(err, failed, settle()); err != nil {
			t.Error(err)
		}
	})
	mustTool(t, "kubectl", "set", "env", deployment, variable+"=15s")
	mustTool(t, "kubectl", "scale", deployment, "--replicas=2")
	if err := settle(); err != nil {
		t.Fatal(err)
	}
}

// kill kills every process of one of a part's pods, but the one that holds its
// namespaces. It is an error where none runs now.
func (v part) kill(t *testing.T, random *rand.Rand) error {
	t.Helper()
	out, err := kubectl(t, "-n", v.namespace, "get", "pods", "-l", v.selector, "--field-selector=status.phase=Running", "-o", "json")
	if err != nil {
		return err
	}
	var list corev1.PodList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	pods := staying(list.Items)
	if len(pods) == 0 {
		return errors.New("there is no pod")
	}
	pod := &pods[random.IntN(len(pods))]
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	killed := 0
	for _, link := range links {
		of, err := os.ReadFile(filepath.Join(filepath.Dir(link), "cgroup"))
		if err != nil || !bytes.Contains(of, []byte(pod.UID)) {
			continue
		}
		program, err := os.Readlink(link)
		if err != nil || filepath.Base(program) == "pause" {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s, %d: %w", program, pid, err)
		}
		killed++
	}
	if killed == 0 {
		return fmt.Errorf("nothing of %s runs", pod.Name)
	}
	return nil
}
