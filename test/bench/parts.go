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
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

const recognizeModel = ".deps/models/text-recognize/PP-OCRv6_rec_small.onnx"

// throughput holds a function under load against the bare loop, and the same
// through the gateway against the function.
func (o *options) throughput(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	child, address, _, err := p.startFunction(ctx, dir, "./functions/text-recognize", "text-recognize@1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, child.stop()) }()
	direct, err := newCall("http://"+address+"/v2/models/text-recognize/infer", "", true, recognizeInput())
	if err != nil {
		return nil, err
	}
	through, err := newCall("http://"+p.address+"/v2/models/text-recognize/infer", p.key, true, recognizeInput())
	if err != nil {
		return nil, err
	}
	for _, c := range []*call{direct, through} { // warm
		if _, _, _, err := c.load(ctx, o.clients, time.Second); err != nil {
			return nil, err
		}
	}
	var rate, cpu, gateway []float64
	for i := range o.rounds {
		progress("throughput, round %d of %d", i+1, o.rounds)
		bare, err := o.runBare(ctx, recognizeModel)
		if err != nil {
			return nil, err
		}
		before, err := child.cpu()
		if err != nil {
			return nil, err
		}
		r, n, _, err := direct.load(ctx, o.clients, o.turn)
		if err != nil {
			return nil, err
		}
		after, err := child.cpu()
		if err != nil {
			return nil, err
		}
		g, _, _, err := through.load(ctx, o.clients, o.turn)
		if err != nil {
			return nil, err
		}
		progress("  bare %.1f/s, function %.1f/s, gateway %.1f/s", bare.Rate, r, g)
		rate = append(rate, r/bare.Rate)
		cpu = append(cpu, (after-before).Seconds()/float64(n)/bare.PerRun)
		gateway = append(gateway, g/r)
	}
	what := fmt.Sprintf("V2 binary infer, text-recognize, %d clients", o.clients)
	return []row{
		{what + ": processor time of the server for one request", "one run of a bare ONNX Runtime loop", spread(cpu), "≤ 1.10", median(cpu) <= 1.10},
		{what + ": throughput, the client on the same cores", "the bare loop", spread(rate), "≥ 0.88", median(rate) >= 0.88},
		{what + ": through the gateway", "the function directly", spread(gateway), "≥ 0.90", median(gateway) >= 0.90},
	}, nil
}

// gateway holds one client's calls of a tiny model through the gateway against
// the function directly.
func (o *options) gateway(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	path := filepath.Join(dir, "tiny.onnx")
	if err := os.WriteFile(path, onnxtest.Scale(16, 2).Marshal(), 0o600); err != nil {
		return nil, err
	}
	if err := p.modelserve(ctx, "models", "push", "tiny", path); err != nil {
		return nil, err
	}
	child, address, metrics, err := p.startFunction(ctx, dir, "./functions/onnx", "tiny@1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, child.stop()) }()
	input := infer.NewTensor("x", []int64{1, 16}, make([]float32, 16))
	direct, err := newCall("http://"+address+"/v2/models/tiny/infer", "", false, input)
	if err != nil {
		return nil, err
	}
	through, err := newCall("http://"+p.address+"/v2/models/tiny/infer", p.key, false, input)
	if err != nil {
		return nil, err
	}
	if _, _, _, err := through.load(ctx, 1, time.Second); err != nil {
		return nil, err
	}
	var ratio, micros []float64
	var objects float64
	for i := range o.rounds {
		progress("gateway, round %d of %d", i+1, o.rounds)
		before, err := allocations(ctx, metrics)
		if err != nil {
			return nil, err
		}
		_, n, d, err := direct.load(ctx, 1, o.turn/2)
		if err != nil {
			return nil, err
		}
		after, err := allocations(ctx, metrics)
		if err != nil {
			return nil, err
		}
		objects = (after - before) / float64(n)
		_, _, g, err := through.load(ctx, 1, o.turn/2)
		if err != nil {
			return nil, err
		}
		ratio = append(ratio, float64(median(g))/float64(median(d)))
		micros = append(micros, float64(median(d).Microseconds()))
	}
	return []row{{
		"a tiny model, JSON, one client, through gateway and function: median",
		fmt.Sprintf("the function directly (%.0f µs, %.0f allocations a request)", median(micros), objects),
		spread(ratio), "≤ 2", median(ratio) <= 2,
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
	c, err := newCall("http://"+p.address+"/v2/models/text-recognize/infer", p.key, true, recognizeInput())
	if err != nil {
		return 0, err
	}
	c.host = name + ".default.localhost:" + port
	began := time.Now()
	err = c.send(ctx, http.DefaultClient, make([]byte, 256<<10))
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
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return false, err
	}
	for _, path := range environs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		env := "\x00" + string(data)
		if strings.Contains(env, "\x00MODELSERVE_S3_ENDPOINT="+p.s3["MODELSERVE_S3_ENDPOINT"]+"\x00") &&
			strings.Contains(env, "\x00K_SERVICE="+name) {
			return true, nil
		}
	}
	return false, nil
}

// idle sums the resident memory of the platform when everything is at zero.
func (o *options) idle(ctx context.Context, p *platform, _ string) ([]row, error) {
	progress("wait until everything is at zero")
	if err := p.waitAtZero(ctx, ""); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(text)[0])
			mb := float64(kb) * 1024 / 1e6
			return []row{{"idle platform, everything at zero: resident in all", "—", fmt.Sprintf("%.0f MB", mb), "≤ 150 MB", mb <= 150}}, err
		}
	}
	return nil, errors.New("no VmRSS")
}

// fresh times a newcomer: a clone with empty caches to the first answer, then
// the same again once built.
func fresh(ctx context.Context) ([]row, error) {
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
	c := &call{url: "http://localhost:8080/", host: "text-detect.default.localhost:8080", body: page, header: http.Header{"X-Api-Key": {strings.TrimSpace(string(key))}, "Content-Type": {"image/png"}}}
	err = c.send(ctx, http.DefaultClient, make([]byte, 32<<10))
	took := time.Since(began)
	progress("ready after %.1f s, answered after %.1f s", ready.Seconds(), took.Seconds())
	if stopErr := child.stop(); !strings.Contains(child.tail(), "ModelServe has stopped") {
		err = errors.Join(err, stopErr) // make itself always ends badly on a signal
	}
	return took, err
}
