package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// floor is the service that loads nothing, in the same image base, with the same
// probes and limits as a function's.
const floor = "bench-nothing"

// hello is the same as anybody's first Service is: its pod has the token of a
// service account.
const (
	hello     = "bench-hello"
	withToken = `[{"op": "remove", "path": "/spec/template/spec/serviceAccountName"}]`
)

var errNoCluster = errors.New("KUBECONFIG and GATEWAY_URL are not set: make cluster && . .cluster/env && make deploy")

// floorManifest is content-detect's own, with another program.
const floorManifest = "test/bench/nothing/service.yaml"

// sleeper is a service that is woken, again and again.
type sleeper struct {
	name, file, contentType string
	starts                  []coldStart
}

// coldStart is one first answer from zero, and where its time went, as seen from
// outside; the last are the function's own words.
type coldStart struct {
	total time.Duration
	parts [10]time.Duration // of coldParts
	own   map[string]time.Duration
}

// coldParts end when: the pod is there; it has a node; containerMoments; the API
// server reports that its containers run; that it is ready; the answer is here.
var coldParts = [10]string{"wake", "schedule", "volumes", "sandbox", "image", "process", "queue-proxy", "report", "load until ready", "first answer"} //nolint:gochecknoglobals // a table

// floors are the first of sleepers, which load nothing.
const floors = 2

func sleepers() []*sleeper {
	return []*sleeper{
		{name: floor, file: "go.mod", contentType: "application/octet-stream"},
		{name: hello, file: "go.mod", contentType: "application/octet-stream"},
		{name: "text-recognize", file: "functions/text-recognize/testdata/line.png", contentType: "image/png"},
		{name: "text-detect", file: "functions/text-detect/testdata/page.png", contentType: "image/png"},
		{name: "text-orient", file: "functions/text-orient/testdata/line.png", contentType: "image/png"},
		{name: "speech-detect", file: "functions/speech-detect/testdata/speech.wav", contentType: "audio/wav"},
		{name: "content-detect", file: "go.mod", contentType: "application/octet-stream"},
	}
}

// coldCluster wakes the functions of a cluster from zero, one after the other in
// each round, beside two that load nothing.
func (o *options) coldCluster(ctx context.Context, _ *platform, _ string) (rows []row, err error) {
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("GATEWAY_URL") == "" {
		return nil, errNoCluster
	}
	defer func() { err = errors.Join(err, removeFloors(ctx)) }()
	if err := errors.Join(applyFloor(ctx, floor, "[]"), applyFloor(ctx, hello, withToken)); err != nil {
		return nil, err
	}
	all := sleepers()
	if err := o.wakeAll(ctx, all); err != nil {
		return nil, err
	}
	printStarts(all)
	return coldRows(all), nil
}

// wakeAll wakes each, one after the other, in every round.
func (o *options) wakeAll(ctx context.Context, all []*sleeper) error {
	for round := range o.rounds {
		for i := range all {
			one := all[(round+i)%len(all)]
			start, err := one.wake(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			one.starts = append(one.starts, start)
			progress("%s, round %d of %d: %s", one.name, round+1, o.rounds, start)
		}
	}
	return nil
}

// applyFloor makes the service that loads nothing, by a name of its own and with
// a change (RFC 6902) to its manifest.
func applyFloor(ctx context.Context, name, change string) error {
	manifest, err := os.ReadFile(floorManifest)
	if err != nil {
		return err
	}
	resolved, err := command(ctx, string(manifest), "ko", "resolve", "--sbom=none", "-f", "-")
	if err != nil {
		return err
	}
	changed, err := command(ctx, strings.ReplaceAll(resolved, floor, name), "kubectl", "patch", "--local", "-f", "-", "--type=json", "-p", change, "-o", "yaml")
	if err != nil {
		return err
	}
	if _, err := command(ctx, changed, "kubectl", "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = command(ctx, "", "kubectl", "wait", "--for=condition=Ready", "--timeout=120s", "ksvc/"+name)
	return err
}

func removeFloors(ctx context.Context) error {
	_, err := command(context.WithoutCancel(ctx), "", "kubectl", "delete", "ksvc", "-l", "app.kubernetes.io/component=floor")
	return err
}

// wake waits until the service has no pod at all, and calls it.
func (s *sleeper) wake(ctx context.Context) (start coldStart, err error) {
	if err := s.asleep(ctx); err != nil {
		return start, err
	}
	body, err := os.ReadFile(s.file)
	if err != nil {
		return start, err
	}
	log, err := openContainerLog()
	if err != nil {
		return start, err
	}
	watching, stop := context.WithCancel(ctx)
	seen, err := s.watch(watching)
	if err != nil {
		stop()
		return start, err
	}
	began := time.Now()
	header, err := s.call(ctx, body)
	answered := time.Now()
	stop()
	moments := <-seen
	inside, failed := log.read(s.name)
	if err := errors.Join(err, failed); err != nil {
		return start, err
	}
	start.total = answered.Sub(began)
	start.own = ownParts(header.Get("Server-Timing"))
	last := began
	for i, at := range slices.Concat(moments[:2], inside[:], moments[2:], []time.Time{answered}) {
		if at.IsZero() || at.Before(last) {
			at = last // not seen, or seen late
		}
		start.parts[i] = at.Sub(last)
		last = at
	}
	return start, nil
}

// call calls the service through the gateway, by its own name.
func (s *sleeper) call(ctx context.Context, body []byte) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("GATEWAY_URL")+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = s.name + ".default.models.test"
	req.Header.Set("X-API-Key", os.Getenv("MODELSERVE_KEY"))
	req.Header.Set("Content-Type", s.contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.300s", res.Status, text)
	}
	return res.Header, err
}

// pod is what is looked at of one.
type pod struct {
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec   struct{ NodeName string }
	Status struct {
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct {
			State struct{ Running *struct{} }
		}
	}
}

// asleep waits until no pod of the service is left.
func (s *sleeper) asleep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		out, err := command(ctx, "", "kubectl", "get", "pods", "-l", "serving.knative.dev/service="+s.name, "-o", "name")
		if err != nil || strings.TrimSpace(out) == "" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("not at zero within five minutes")
		}
	}
}

// watch sends when the service's first pod was first seen at each of its steps.
// The API server records no time finer than a second; when a watch sees them is
// known to a millisecond. It returns when the watch has begun, which is seen by the
// gateway's pod.
func (s *sleeper) watch(ctx context.Context) (<-chan [4]time.Time, error) {
	cmd := exec.CommandContext(ctx, "kubectl", "get", "pods", "-l", "serving.knative.dev/service in (gateway,"+s.name+")", "--watch", "-o", "json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	in := json.NewDecoder(out)
	if err := in.Decode(new(pod)); err != nil {
		return nil, errors.Join(fmt.Errorf("watch pods, the gateway's first: %w", err), cmd.Wait())
	}
	seen := make(chan [4]time.Time, 1)
	go func() {
		var moments [4]time.Time
		for {
			var p pod
			if in.Decode(&p) != nil { // ended
				break
			}
			if p.Metadata.Labels["serving.knative.dev/service"] == s.name {
				p.mark(&moments, time.Now())
			}
		}
		_ = cmd.Wait() // it was killed
		seen <- moments
	}()
	return seen, nil
}

func (p *pod) mark(moments *[4]time.Time, now time.Time) {
	running := len(p.Status.ContainerStatuses) > 0
	for _, c := range p.Status.ContainerStatuses {
		running = running && c.State.Running != nil
	}
	ready := false
	for _, c := range p.Status.Conditions {
		ready = ready || c.Type == "Ready" && c.Status == "True"
	}
	for i, reached := range []bool{true, p.Spec.NodeName != "", running, ready} {
		if reached && moments[i].IsZero() {
			moments[i] = now
		}
	}
}

var timing = regexp.MustCompile(`(\w+);dur=([\d.]+)`)

// ownParts reads a Server-Timing: what the function reports of its own time.
func ownParts(header string) map[string]time.Duration {
	parts := map[string]time.Duration{}
	for _, m := range timing.FindAllStringSubmatch(header, -1) {
		if ms, err := strconv.ParseFloat(m[2], 64); err == nil {
			parts[m[1]] = time.Duration(ms * float64(time.Millisecond))
		}
	}
	return parts
}

// ownNames are the parts of a cold start that are the product's own: bringing the
// model, checking and loading it, the warm-up and the run.
func ownNames() []string { return []string{"fetch", "verify", "load", "warm", "infer"} }

// largest is the longest of them.
func (c *coldStart) largest() time.Duration {
	most := time.Duration(0)
	for _, name := range ownNames() {
		most = max(most, c.own[name])
	}
	return most
}

func (c coldStart) String() string {
	text := fmt.Sprintf("%d ms:", c.total.Milliseconds())
	for i, name := range coldParts {
		text += fmt.Sprintf(" %s %d,", name, c.parts[i].Milliseconds())
	}
	return strings.TrimSuffix(text, ",")
}

// printStarts prints the table of parts, medians in milliseconds.
func printStarts(all []*sleeper) {
	own := ownNames()
	fmt.Printf("\n| ms | total | %s | %s |\n|%s\n", strings.Join(coldParts[:], " | "), strings.Join(own, " | "), strings.Repeat(" --- |", 2+len(coldParts)+len(own)))
	for _, s := range all {
		fmt.Printf("| %s | %s ", s.name, s.column(func(c coldStart) time.Duration { return c.total }, true))
		for i := range coldParts {
			fmt.Printf("| %s ", s.column(func(c coldStart) time.Duration { return c.parts[i] }, false))
		}
		for _, name := range own {
			fmt.Printf("| %s ", s.column(func(c coldStart) time.Duration { return c.own[name] }, false))
		}
		fmt.Println("|")
	}
}

func (s *sleeper) column(of func(coldStart) time.Duration, extremes bool) string {
	var values []time.Duration
	for _, c := range s.starts {
		values = append(values, of(c))
	}
	text := strconv.FormatInt(median(values).Milliseconds(), 10)
	if extremes {
		text += fmt.Sprintf(" (%d to %d)", slices.Min(values).Milliseconds(), slices.Max(values).Milliseconds())
	}
	return text
}

func coldRows(all []*sleeper) (rows []row) {
	for _, s := range all[floors:] {
		what := "first answer from zero on the cluster, " + s.name
		for i, against := range []string{"a function of the same shape that loads nothing", "the same with its account's token, as any hello-world has"} {
			ratio := ratios(s.totals(), all[i].totals())
			rows = append(rows, row{what, against, spread(ratio), "≤ 1.05", rounded(ratio) <= 1.05})
		}
		rows = append(rows, row{what + ", without report", "a function of the same shape that loads nothing", spread(ratios(s.unreported(), all[0].unreported())), "—", true})
		var share []float64
		for i := range s.starts {
			share = append(share, float64(s.starts[i].largest())/float64(s.starts[i].total))
		}
		rows = append(rows, row{"the largest part of ours in it, " + s.name, "the whole", spread(share), "≤ 0.10", rounded(share) <= 0.10})
	}
	return rows
}

// unreported are the first answers' times, by round, in seconds, without the wait
// until the kubelet looks again, each second: nobody's service changes that, and
// it hides what does change.
func (s *sleeper) unreported() (found []float64) {
	report := slices.Index(coldParts[:], "report")
	for _, c := range s.starts {
		found = append(found, (c.total - c.parts[report]).Seconds())
	}
	return found
}

// command runs a tool with an input.
func command(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}
