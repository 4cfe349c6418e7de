package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// recognizeInput is one line of text as the model takes it: [1, 3, 48, 320].
func recognizeInput() infer.Tensor {
	values := make([]float32, 3*48*320)
	for i := range values {
		values[i] = float32(i%97)/48 - 1
	}
	return infer.NewTensor("x", []int64{1, 3, 48, 320}, values)
}

// call is a prepared V2 request, sent again and again.
type call struct {
	url    string
	host   string // "" is the URL's
	header http.Header
	body   []byte
}

func newCall(url, key string, binary bool, inputs ...infer.Tensor) (*call, error) {
	encoded, err := infer.EncodeRequest(&infer.Request{Inputs: inputs, BinaryOutput: binary}, func(*infer.Tensor) bool { return binary })
	if err != nil {
		return nil, err
	}
	c := &call{url: url, header: http.Header{"Content-Type": {encoded.ContentType()}}, body: encoded.Bytes()}
	if binary {
		c.header.Set("Inference-Header-Content-Length", strconv.Itoa(encoded.HeaderLength()))
	}
	if key != "" {
		c.header.Set("X-API-Key", key)
	}
	return c, nil
}

// send sends the call once and reads its whole answer.
func (c *call) send(ctx context.Context, client *http.Client, buffer []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header = c.header
	if c.host != "" {
		req.Host = c.host
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("%s: status %d: %s", c.url, res.StatusCode, body)
	}
	// As a client that keeps the answer would read it: in large pieces.
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, res.Body, buffer)
	return err
}

// load keeps clients sending for a while; rate is answers per second, each the
// latency of every answer of the first client.
func (c *call) load(ctx context.Context, clients int, turn time.Duration) (rate float64, n int64, each []time.Duration, err error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var answers atomic.Int64
	errs := make([]error, clients)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			buffer := make([]byte, 256<<10)
			for time.Since(began) < turn && errs[i] == nil {
				sent := time.Now()
				errs[i] = c.send(ctx, client, buffer)
				answers.Add(1)
				if i == 0 {
					each = append(each, time.Since(sent))
				}
			}
		})
	}
	wg.Wait()
	return float64(answers.Load()) / time.Since(began).Seconds(), answers.Load(), each, errors.Join(errs...)
}

// bareResult is what the bare loop prints.
type bareResult struct {
	Rate   float64 // runs per second
	PerRun float64 // seconds of processor time for one run
}

// bareLoop runs a model in a loop, one goroutine for each processor as the
// function has slots, and prints a bareResult.
func bareLoop(ctx context.Context, path string, turn time.Duration) error {
	found, err := ort.FindLibrary()
	if err != nil {
		return err
	}
	library, err := ort.Open(found)
	if err != nil {
		return err
	}
	session, err := library.Open(path, ort.Options{})
	if err != nil {
		return err
	}
	run := func() error {
		_, release, err := session.Run(ctx, []infer.Tensor{recognizeInput()}, []string{"fetch_name_0"})
		if err == nil {
			release()
		}
		return err
	}
	if err := run(); err != nil {
		return err
	}
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	before, err := self.cpu()
	if err != nil {
		return err
	}
	var runs atomic.Int64
	errs := make([]error, runtime.GOMAXPROCS(0))
	began := time.Now()
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for time.Since(began) < turn && errs[i] == nil {
				errs[i] = run()
				runs.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	after, err := self.cpu()
	if err := errors.Join(err, errors.Join(errs...)); err != nil {
		return err
	}
	n := float64(runs.Load())
	if err := json.NewEncoder(os.Stdout).Encode(bareResult{Rate: n / took, PerRun: (after - before).Seconds() / n}); err != nil {
		return err
	}
	return errors.Join(session.Close(), library.Close())
}

// bare runs the bare loop as a process of its own.
func (o *options) runBare(ctx context.Context, model string) (r bareResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	out, err := exec.CommandContext(ctx, self, "-bare", model, "-turn", o.turn.String()).Output()
	if err != nil {
		return r, fmt.Errorf("the bare loop: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

// allocations reads how many objects a process has ever allocated.
func allocations(ctx context.Context, metrics string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("no go_memstats_mallocs_total in the metrics")
}
