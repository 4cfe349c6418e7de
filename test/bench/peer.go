package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// variant is a server and how it is set.
type variant struct {
	server  string // mosec, kserve, mlserver, or one of ours
	workers int    // processes that run the model; MLServer's 0 is its own process
	batch   int    // the most requests in one run; 1 is none
}

func (v variant) String() string {
	text := v.server
	if v.server != ours && v.server != decoderOnly {
		text += fmt.Sprintf(", workers %d", v.workers)
	}
	if v.batch > 1 {
		text += fmt.Sprintf(", batches of %d", v.batch)
	}
	return text
}

// The servers that are no peers.
const (
	ours        = "ModelServe"
	decoderOnly = "a Go handler that only decodes"
)

// batchWait is how long the peers wait for a batch: mosec's default, for both.
const batchWait = 10 * time.Millisecond

// peerVariants are the peers in every setting that is measured.
func peerVariants() []variant {
	return []variant{
		{"mosec", 1, 1},
		{"mosec", 2, 1},
		{"mosec", 1, 8},
		{"mosec", 2, 8},
		{"mosec", 1, 32},
		{"mosec", 2, 32},
		{"kserve", 1, 1}, // batches are made by an agent beside it, which is not in Python
		{"kserve", 2, 1},
		{"mlserver", 1, 1},
		{"mlserver", 0, 1},
		{"mlserver", 1, 8},
		{"mlserver", 0, 8},
	}
}

// peer is a running server with a prepared request.
type peer struct {
	variant
	*process
	target *target
	rates  []float64     // by round
	failed bool          // at this number of clients
	ended  chan struct{} // closed when it has ended
}

// spec is the file that names a Python handler's model.
type spec struct {
	Name   string      `json:"name"`
	Path   string      `json:"path"`
	Joins  bool        `json:"joins"`
	Inputs []specInput `json:"inputs"`
}

type specInput struct {
	Name     string         `json:"name"`
	Datatype infer.DataType `json:"datatype"`
	Shape    []int64        `json:"shape"`
}

func (s *subject) spec() spec {
	out := spec{Name: s.name, Path: s.path(), Joins: s.joins}
	for _, in := range s.inputs {
		out.Inputs = append(out.Inputs, specInput{in.name, in.datatype, in.shape})
	}
	return out
}

// peersDir has the peers' handlers; peersEnv their Python environments.
const (
	peersDir = "test/bench/peers"
	peersEnv = ".deps/peers"
)

// startPeer starts a server on loopback and waits for its first answer. asJSON
// asks for tensors in JSON, and not in the cheapest form that the server knows.
func startPeer(ctx context.Context, dir string, v variant, s *subject, asJSON bool) (*peer, error) {
	address, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, v.server+"-")
	if err != nil {
		return nil, err
	}
	specFile := filepath.Join(work, "spec.json")
	if err := writeJSON(specFile, s.spec()); err != nil {
		return nil, err
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	args, err := v.command(ctx, root, work, address, s)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	format := "binary"
	if asJSON {
		format = "json"
	}
	p := &peer{variant: v, process: &process{cmd: exec.Command(args[0], args[1:]...)}, ended: make(chan struct{})}
	handlers := filepath.Join(root, peersDir)
	p.cmd.Dir = work
	p.cmd.Env = append(os.Environ(), "SPEC="+specFile, "FORMAT="+format, "PORT="+port, "WORKERS="+strconv.Itoa(v.workers), "BATCH="+strconv.Itoa(v.batch),
		"PYTHONPATH="+handlers+":"+filepath.Join(handlers, v.server), "PYTHONDONTWRITEBYTECODE=1", "ORT_DISABLE_TELEMETRY=1", "TMPDIR="+work,
		"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1")
	p.cmd.Stdout, p.cmd.Stderr = p.process, p.process
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers go with it
	if p.target, err = v.request(address, s, asJSON); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (`make bench-peers` fetches it)", v, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is not our business
	}()
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w\n%s", v, err, p.tail()), p.stop())
	}
	return p, nil
}

// command is what starts the server, from the folder work.
func (v variant) command(ctx context.Context, root, work, address string, s *subject) ([]string, error) {
	bin := filepath.Join(root, peersEnv, v.server, "bin")
	if v.server == decoderOnly {
		self, err := os.Executable()
		return []string{self, "-decoder", address}, err
	}
	python, handler := filepath.Join(bin, "python"), filepath.Join(root, peersDir, v.server, "server.py")
	host, port, _ := net.SplitHostPort(address)
	switch v.server {
	case "mosec":
		wait := strconv.FormatInt(longestAnswer.Milliseconds(), 10)
		return []string{python, handler, "--address", host, "--port", port, "--timeout", wait, "--log-level", "warning"}, nil
	case "mlserver":
		return []string{python, filepath.Join(bin, "mlserver"), "start", work}, v.mlserverSettings(ctx, work, host, port, s)
	default:
		return []string{python, handler}, nil
	}
}

func (v variant) mlserverSettings(ctx context.Context, work, host, port string, s *subject) error {
	grpc, err := freeport.Address(ctx)
	if err != nil {
		return err
	}
	_, grpcPort, _ := net.SplitHostPort(grpc)
	settings := map[string]any{
		"debug": false, "host": host, "http_port": json.Number(port), "grpc_port": json.Number(grpcPort),
		"metrics_endpoint": nil, "parallel_workers": v.workers,
	}
	model := map[string]any{"name": s.name, "implementation": "server.ONNX"}
	if v.batch > 1 {
		model["max_batch_size"], model["max_batch_time"] = v.batch, batchWait.Seconds()
	}
	return errors.Join(writeJSON(filepath.Join(work, "settings.json"), settings), writeJSON(filepath.Join(work, "model-settings.json"), model))
}

// request is a row in the cheapest form that the server knows over HTTP, or in
// its JSON.
func (v variant) request(address string, s *subject, asJSON bool) (*target, error) {
	inputs := s.tensors(1)
	var raw []byte
	for _, in := range inputs {
		raw = append(raw, in.Data...)
	}
	switch {
	case v.server == "mosec" && asJSON:
		values, err := infer.Values[float32](&inputs[0])
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(map[string][][]float32{inputs[0].Name: {values}})
		return newTarget(address, "/inference", body, "Content-Type", "application/json"), err
	case v.server == "mosec":
		return newTarget(address, "/inference", raw, "Content-Type", "application/octet-stream"), nil
	case v.server == "mlserver" && !asJSON:
		body := fmt.Sprintf(`{"inputs":[{"name":"rows","datatype":"BYTES","shape":[1,1],"parameters":{"content_type":"base64"},"data":[%q]}]}`,
			base64.StdEncoding.EncodeToString(raw))
		return newTarget(address, "/v2/models/"+s.name+"/infer", []byte(body), "Content-Type", "application/json"), nil
	default:
		return v2(address, s.name, !asJSON, inputs)
	}
}

// ready waits for an answer, and then until every process of the server has
// done what it does when it starts.
func (p *peer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	last, failure := time.Duration(-1), errors.New("it has not answered")
	for {
		select {
		case <-tick.C:
		case <-p.ended:
			return errors.Join(errors.New("it has ended"), failure)
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", errors.Join(ctx.Err(), failure))
		}
		if failure != nil {
			failure = p.target.once(ctx)
			var status *statusError
			if errors.As(failure, &status) && status.status == http.StatusInternalServerError {
				return failure
			}
			continue
		}
		used, err := groupCPU(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		if last >= 0 && used-last <= 20*time.Millisecond {
			return nil
		}
		last = used
	}
}

// groupCPU is the processor time of the living processes of a group.
func groupCPU(group int) (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	ticks := 0
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 || fields[2] != strconv.Itoa(group) {
			continue
		}
		for _, field := range fields[11:13] { // of user and system, in ticks of 10 ms
			n, err := strconv.Atoi(field)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// stop ends the server and its workers, if need be by force.
func (p *peer) stop() error {
	pid := p.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGTERM); err == nil {
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
		}
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s: %w", p.variant, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
