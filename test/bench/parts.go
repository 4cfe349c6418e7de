package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// gatewayClients are those of the throughput through the gateway.
const gatewayClients = 8

// gateway holds calls through the gateway against calls of the function
// directly: the throughput of a large answer, and one client's wait for a tiny
// one.
func (o *options) gateway(ctx context.Context, p *platform, dir string) ([]row, error) {
	large, err := o.gatewayThroughput(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	tiny, err := o.gatewayLatency(ctx, p, dir)
	return append(large, tiny...), err
}

func (o *options) gatewayThroughput(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	f, err := p.startFunction(ctx, dir, "./functions/text-recognize", "text-recognize@1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	line, err := find(subjects(dir), "text-recognize")
	if err != nil {
		return nil, err
	}
	direct, through, err := p.bothWays(f, "text-recognize", true, line.tensors(1))
	if err != nil {
		return nil, err
	}
	for _, t := range []*target{direct, through} { // warm
		if _, err := t.load(ctx, gatewayClients, time.Second); err != nil {
			return nil, err
		}
	}
	var ratio []float64
	for i := range o.rounds {
		d, err := direct.load(ctx, gatewayClients, 2*o.turn)
		if err != nil {
			return nil, err
		}
		g, err := through.load(ctx, gatewayClients, 2*o.turn)
		if err != nil {
			return nil, err
		}
		ratio = append(ratio, g.rate/d.rate)
		progress("gateway, text-recognize, round %d of %d: %.1f/s through it, %.1f/s without", i+1, o.rounds, g.rate, d.rate)
	}
	what := fmt.Sprintf("throughput through the gateway, text-recognize, %d clients", gatewayClients)
	return []row{{what, "the function directly", spread(ratio), "≥ 0.90", rounded(ratio) >= 0.90}}, nil
}

// bothWays prepares a call of a function directly and through the gateway.
func (p *platform) bothWays(f *function, model string, binary bool, inputs []infer.Tensor) (direct, through *target, err error) {
	if direct, err = v2(f.address, model, binary, inputs); err != nil {
		return nil, nil, err
	}
	through, err = v2(p.address, model, binary, inputs, "X-API-Key", p.key)
	return direct, through, err
}

func (o *options) gatewayLatency(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	path := filepath.Join(dir, "tiny.onnx")
	if err := os.WriteFile(path, onnxtest.Scale(16, 2).Marshal(), 0o600); err != nil {
		return nil, err
	}
	if err := p.modelserve(ctx, "models", "push", "tiny", path); err != nil {
		return nil, err
	}
	f, err := p.startFunction(ctx, dir, "./functions/onnx", "tiny@1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	direct, through, err := p.bothWays(f, "tiny", false, []infer.Tensor{infer.NewTensor("x", []int64{1, 16}, make([]float32, 16))})
	if err != nil {
		return nil, err
	}
	if _, err := through.load(ctx, 1, time.Second); err != nil {
		return nil, err
	}
	var ratio, micros []float64
	var objects float64
	for i := range o.rounds {
		before, err := allocations(ctx, f.metrics)
		if err != nil {
			return nil, err
		}
		d, err := direct.load(ctx, 1, 2*o.turn)
		if err != nil {
			return nil, err
		}
		after, err := allocations(ctx, f.metrics)
		if err != nil {
			return nil, err
		}
		objects = (after - before) / float64(d.answers)
		g, err := through.load(ctx, 1, 2*o.turn)
		if err != nil {
			return nil, err
		}
		ratio = append(ratio, float64(median(g.each))/float64(median(d.each)))
		micros = append(micros, float64(median(d.each).Microseconds()))
		progress("gateway, a tiny model, round %d of %d: %.2f", i+1, o.rounds, ratio[i])
	}
	return []row{{
		"a tiny model, JSON, one client, through gateway and function: median",
		fmt.Sprintf("the function directly (%.0f µs, %.0f allocations a request)", median(micros), objects),
		spread(ratio), "≤ 2", rounded(ratio) <= 2,
	}}, nil
}

// service is a Knative Service that goes to zero as fast as Knative allows.
const service = `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: NAME}
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/window: 6s
        autoscaling.knative.dev/initial-scale: "0"
    spec:
      containers:
        - image: ko://github.com/modelserveai/modelserve/PACKAGE
          env: [{name: MODELSERVE_MODELS, value: text-recognize@1}]
`

// cold holds the first answer from zero of a function with a model against one
// of a function that loads nothing.
func (o *options) cold(ctx context.Context, p *platform, _ string) ([]row, error) {
	for name, pkg := range map[string]string{"cold-model": "functions/text-recognize", "cold-nothing": "test/bench/nothing"} {
		text := strings.NewReplacer("NAME", name, "PACKAGE", pkg).Replace(service)
		dir := filepath.Join(p.data, "services")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			return nil, err
		}
		if err := p.waitListed(ctx, name); err != nil {
			return nil, err
		}
	}
	first := map[string][]time.Duration{}
	for i := range o.rounds + 1 {
		progress("from zero, round %d of %d", i, o.rounds)
		for _, name := range []string{"cold-nothing", "cold-model"} {
			took, err := p.fromZero(ctx, name)
			if err != nil {
				return nil, err
			}
			if i > 0 { // the first one waits for the build
				first[name] = append(first[name], took)
			}
		}
	}
	var ratio []float64
	for i := range first["cold-model"] {
		ratio = append(ratio, first["cold-model"][i].Seconds()/first["cold-nothing"][i].Seconds())
	}
	return []row{{
		fmt.Sprintf("first answer from zero, text-recognize (%.0f ms)", 1000*median(first["cold-model"]).Seconds()),
		fmt.Sprintf("a function that loads nothing (%.0f ms)", 1000*median(first["cold-nothing"]).Seconds()),
		spread(ratio), "≤ 1.5", median(ratio) <= 1.5,
	}}, nil
}

// fromZero waits until a function's processes have gone and times one call.
func (p *platform) fromZero(ctx context.Context, name string) (time.Duration, error) {
	if err := p.waitAtZero(ctx, name); err != nil {
		return 0, err
	}
	_, port, _ := net.SplitHostPort(p.address)
	line, err := find(subjects(""), "text-recognize")
	if err != nil {
		return 0, err
	}
	t, err := v2(p.address, "text-recognize", true, line.tensors(1), "Host", name+".default.localhost:"+port, "X-API-Key", p.key)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = t.once(ctx)
	return time.Since(began), err
}

// waitListed waits until the platform has taken up a manifest.
func (p *platform) waitListed(ctx context.Context, name string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/v1/functions", nil)
		if err != nil {
			return err
		}
		req.Header.Set("X-API-Key", p.key)
		if res, err := http.DefaultClient.Do(req); err == nil {
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil && strings.Contains(string(body), `"`+name+`"`) {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitAtZero waits until no process of the function is left.
func (p *platform) waitAtZero(ctx context.Context, name string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		running, err := p.functionRuns(name)
		if err != nil || !running {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// functionRuns looks for a process whose K_SERVICE is name ("" is any).
func (p *platform) functionRuns(name string) (bool, error) {
	pids, err := p.processes(name)
	return len(pids) > 0, err
}

// idle sums the resident memory of the platform when everything is at zero.
func (o *options) idle(ctx context.Context, p *platform, _ string) ([]row, error) {
	progress("wait until everything is at zero")
	if err := p.waitAtZero(ctx, ""); err != nil {
		return nil, err
	}
	n, err := p.resident()
	mb := float64(n) / 1e6
	return []row{{"idle platform, everything at zero: resident in all", "—", fmt.Sprintf("%.0f MB", mb), "≤ 150 MB", mb <= 150}}, err
}

// fresh times a newcomer: a clone with empty caches to the first answer, then
// the same again once built.
func fresh(ctx context.Context, _ *platform, _ string) ([]row, error) {
	dir, err := os.MkdirTemp("", "modelserve-fresh-")
	if err != nil {
		return nil, err
	}
	defer func() { // the module cache is read-only until it is told otherwise
		_ = exec.Command("chmod", "-R", "u+w", dir).Run()
		_ = os.RemoveAll(dir)
	}()
	clone := filepath.Join(dir, "modelserve")
	if out, err := exec.CommandContext(ctx, "git", "clone", "--quiet", ".", clone).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("clone: %w\n%s", err, out)
	}
	var took []time.Duration
	for _, what := range []string{"first answer from a clone with empty caches", "first answer once built"} {
		progress("%s", what)
		d, err := firstAnswer(ctx, dir, clone)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		took = append(took, d)
	}
	return []row{
		{"clone to first answer, empty Go caches", "—", took[0].Round(time.Second).String(), "≤ 8 min", took[0] <= 8*time.Minute},
		{"the same once built", "—", fmt.Sprintf("%.1f s", took[1].Seconds()), "≤ 15 s", took[1] <= 15*time.Second},
	}, nil
}

// firstAnswer runs make run and asks text-detect for the page until it answers.
func firstAnswer(ctx context.Context, dir, clone string) (time.Duration, error) {
	began := time.Now()
	child, err := startProcess("make", map[string]string{
		"GOCACHE": filepath.Join(dir, "cache"), "GOMODCACHE": filepath.Join(dir, "mod"),
	}, "-C", clone, "run")
	if err != nil {
		return 0, err
	}
	if err := waitReady(ctx, "http://localhost:8080/readyz"); err != nil {
		return 0, errors.Join(err, child.stop(), errors.New(child.tail()))
	}
	ready := time.Since(began)
	page, err := os.ReadFile("functions/text-detect/testdata/page.png")
	if err != nil {
		return 0, errors.Join(err, child.stop())
	}
	key, err := os.ReadFile(filepath.Join(clone, ".modelserve", "key"))
	if err != nil {
		return 0, errors.Join(err, child.stop())
	}
	t := newTarget("localhost:8080", "/", page, "Host", "text-detect.default.localhost:8080",
		"X-API-Key", strings.TrimSpace(string(key)), "Content-Type", "image/png")
	err = t.once(ctx)
	took := time.Since(began)
	progress("ready after %.1f s, answered after %.1f s", ready.Seconds(), took.Seconds())
	if stopErr := child.stop(); !strings.Contains(child.tail(), "ModelServe has stopped") {
		err = errors.Join(err, stopErr) // make itself always ends badly on a signal
	}
	return took, err
}
