package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

const stepManifest = "test/bench/step/service.yaml"

// stepInput is what an execution and a bare Sequence are given.
const stepInput = `{"text":"what every step answers with"}`

// stepped is a function that three steps are of, and both ways through it.
type stepped struct {
	name   string
	pause  time.Duration
	client *http.Client
	bare   *url.URL // of the Sequence's first channel, by an address that this machine reaches
	host   string   // of it
	ids    atomic.Int64
}

// clusterPipelines holds executions of three steps on a cluster against bare Sequences
// of the same functions, of which nobody keeps a record.
func (o *options) clusterPipelines(ctx context.Context, _ *platform, _ string) (rows []row, err error) {
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("GATEWAY_URL") == "" {
		return nil, errNoCluster
	}
	for _, s := range []*stepped{{name: "bench-pause", pause: 50 * time.Millisecond}, {name: "bench-echo"}} {
		more, err := o.stepsOf(ctx, s)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return rows, nil
}

func (o *options) stepsOf(ctx context.Context, s *stepped) (rows []row, err error) {
	defer func() { err = errors.Join(err, s.remove(ctx)) }()
	if err := s.apply(ctx); err != nil {
		return nil, err
	}
	clients, err := o.saturates(ctx, s)
	if err != nil {
		return nil, err
	}
	var ours, bare [2][]float64 // latencies, and rates
	for i := range o.rounds {
		for _, way := range []struct {
			do func(context.Context) error
			to *[2][]float64
		}{{s.execute, &ours}, {s.post, &bare}} {
			var each []time.Duration
			for began := time.Now(); len(each) < 10 || time.Since(began) < o.turn; {
				at := time.Now()
				if err := way.do(ctx); err != nil {
					return nil, err
				}
				each = append(each, time.Since(at))
			}
			rate, err := repeat(ctx, clients, 2*o.turn, way.do)
			if err != nil {
				return nil, err
			}
			if median(each) < 3*s.pause {
				return nil, fmt.Errorf("three steps of %s took %s: they do not pause", s.pause, median(each))
			}
			way.to[0], way.to[1] = append(way.to[0], median(each).Seconds()), append(way.to[1], rate)
		}
		progress("%s, round %d of %d: %.1f ms against %.1f, %.0f/s against %.0f by %d clients", s.name, i+1, o.rounds,
			1000*ours[0][i], 1000*bare[0][i], ours[1][i], bare[1][i], clients)
	}
	return s.rows(clients, ours, bare), nil
}

func (s *stepped) rows(clients int, ours, bare [2][]float64) []row {
	what := fmt.Sprintf("three steps of %s on the cluster", s.pause)
	if s.pause == 0 {
		what = "three steps that answer at once on the cluster"
	}
	latency, rate := ratios(ours[0], bare[0]), ratios(ours[1], bare[1])
	first := row{
		fmt.Sprintf("%s, warm: median (%.1f ms)", what, 1000*median(ours[0])),
		fmt.Sprintf("the bare Sequence of the same functions (%.1f ms)", 1000*median(bare[0])), spread(latency), "≤ 1.10", rounded(latency) <= 1.10,
	}
	least := 0.9
	if s.pause == 0 {
		more := 1000 * (median(ours[0]) - median(bare[0]))
		first.figure, first.reach, first.holds = fmt.Sprintf("+ %.1f ms; %s", more, spread(latency)), "+ 5 ms is the aim", more <= 5
		least = 0.5
	}
	return []row{first, {
		fmt.Sprintf("%s, %d clients: throughput (%.0f/s)", what, clients, median(ours[1])),
		fmt.Sprintf("the bare Sequence, at its saturation (%.0f/s)", median(bare[1])), spread(rate), fmt.Sprintf("≥ %.2f", least), rounded(rate) >= least,
	}}
}

// saturates is how many clients the bare Sequence has its most answers with: twice as
// many gain less than a tenth.
func (o *options) saturates(ctx context.Context, s *stepped) (int, error) {
	const most = 256
	last := 0.0
	for clients := 8; ; clients *= 2 {
		rate, err := repeat(ctx, clients, o.turn, s.post)
		if err != nil {
			return 0, err
		}
		if rate < 1.1*last || clients > most {
			return clients / 2, nil
		}
		last = rate
	}
}

// apply makes the function, the bare Sequence and the pipeline, and waits until each
// answers.
func (s *stepped) apply(ctx context.Context) error {
	text, err := os.ReadFile(stepManifest)
	if err != nil {
		return err
	}
	manifest := strings.NewReplacer("${NAME}", s.name, "${PAUSE}", strconv.Quote(s.pause.String())).Replace(string(text))
	resolved, err := command(ctx, manifest, "ko", "resolve", "--sbom=none", "-f", "-")
	if err != nil {
		return err
	}
	if _, err := command(ctx, resolved, "kubectl", "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := command(ctx, "", "kubectl", "wait", "--for=condition=Ready", "--timeout=180s", "ksvc/"+s.name, "sequence/"+s.name+"-bare"); err != nil {
		return err
	}
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
	if err := s.findBare(ctx); err != nil {
		return err
	}
	definition := fmt.Sprintf(`{"apiVersion": "modelserve.dev/v1", "kind": "Pipeline", "metadata": {"name": %[1]q}, "spec": {"steps": [
		{"name": "first", "function": %[1]q, "input": "input"}, {"name": "second", "function": %[1]q}, {"name": "third", "function": %[1]q}]}}`, s.name)
	if _, err := s.gateway(ctx, http.MethodPost, contract.PipelinesPath, definition); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := errors.Join(s.execute(waiting), s.post(waiting))
		if err == nil {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-waiting.Done():
			return err
		}
	}
}

// findBare finds the Sequence's address: a name in the cluster is looked up as a Service.
func (s *stepped) findBare(ctx context.Context) error {
	text, err := command(ctx, "", "kubectl", "get", "sequence/"+s.name+"-bare", "-o", "jsonpath={.status.address.url}")
	if err != nil {
		return err
	}
	if s.bare, err = url.Parse(strings.TrimSpace(text)); err != nil {
		return err
	}
	s.host = s.bare.Host
	at := s.bare.Hostname()
	for range 2 { // a channel's Service is a name of its dispatcher's
		name, rest, _ := strings.Cut(at, ".")
		namespace, _, _ := strings.Cut(rest, ".")
		text, err := command(ctx, "", "kubectl", "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP} {.spec.externalName}")
		if err != nil {
			return err
		}
		fields := strings.Fields(text)
		if len(fields) == 0 {
			return fmt.Errorf("the Service of %s has no address", at)
		}
		if at = fields[len(fields)-1]; strings.Count(at, ".") == 3 && strings.Trim(at, "0123456789.") == "" {
			break
		}
	}
	s.bare.Host = at
	return nil
}

func (s *stepped) remove(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	_, _ = s.gateway(ctx, http.MethodDelete, contract.PathOf(contract.PipelinePath, s.name), "") // it may not be there
	_, err := command(ctx, "", "kubectl", "delete", "--ignore-not-found", "ksvc/"+s.name, "sequence/"+s.name+"-bare")
	return err
}

// execute runs the pipeline, and waits for its end as a caller does.
func (s *stepped) execute(ctx context.Context) error {
	status, err := s.gateway(ctx, http.MethodPost, contract.PathOf(contract.StartPath, s.name), stepInput, contract.PreferHeader, "wait=60")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the execution: expected 200, got %d", status)
	}
	return err
}

// gateway calls the gateway, and returns a status below 300.
func (s *stepped) gateway(ctx context.Context, method, path, body string, header ...string) (int, error) {
	q, err := http.NewRequestWithContext(ctx, method, os.Getenv("GATEWAY_URL")+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	q.Header.Set("X-API-Key", os.Getenv("MODELSERVE_KEY"))
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	return s.send(q)
}

// post sends an event to the bare Sequence, whose channels in memory answer when the
// last step has.
func (s *stepped) post(ctx context.Context) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.bare.String(), strings.NewReader(stepInput))
	if err != nil {
		return err
	}
	q.Host = s.host
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Type": "dev.modelserve.bench.sent.v1", "Ce-Source": "/bench",
		"Ce-Id": strconv.FormatInt(s.ids.Add(1), 10),
	} {
		q.Header.Set(name, value)
	}
	_, err = s.send(q)
	return err
}

func (s *stepped) send(q *http.Request) (int, error) {
	res, err := s.client.Do(q)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, res.Body); err != nil {
		return 0, err
	}
	if res.StatusCode > 299 {
		return res.StatusCode, fmt.Errorf("%s %s: %s: %.300s", q.Method, q.URL.Path, res.Status, text.String())
	}
	return res.StatusCode, nil
}
