package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/freeport"
)

const cli = "bin/modelserve"

// process is a child, with what it printed.
type process struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer for the child's output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.Len() > maxOutput {
		p.out.Next(p.out.Len() / 2)
	}
	return p.out.Write(b)
}

// maxOutput bounds what is kept of a child's output: the end of it.
const maxOutput = 64 << 10

func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.out.Bytes()
	return string(b[max(0, len(b)-4000):])
}

func startProcess(path string, env map[string]string, args ...string) (*process, error) {
	p := new(process)
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = os.Environ()
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, err, p.tail())
	}
	return nil
}

// cpu is the processor time the process has used, of user and system, read
// from its own clock: the ticks in /proc are too coarse for a short turn.
func (p *process) cpu() (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, of the whole process
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("read the processor clock of %d: %w", p.cmd.Process.Pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// resident is the memory the process has in RAM, in bytes.
func (p *process) resident() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// platform is a running `modelserve dev`.
type platform struct {
	*process
	address string
	data    string
	key     string
	s3      map[string]string // the environment that leads to its S3
}

func startPlatform(ctx context.Context, data string, flags ...string) (*platform, error) {
	address, err := freeport.Address(ctx)
	if err != nil {
		return nil, err
	}
	child, err := startProcess(cli, nil, append([]string{"dev", "--address", address, "--data", data, "--plain"}, flags...)...)
	if err != nil {
		return nil, fmt.Errorf("start the platform: %w (run `make build` first)", err)
	}
	p := &platform{process: child, address: address, data: data}
	if err := waitReady(ctx, "http://"+address+"/readyz"); err != nil {
		return nil, errors.Join(err, p.stop(), errors.New(p.tail()))
	}
	key, err := os.ReadFile(filepath.Join(data, "key"))
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.key = strings.TrimSpace(string(key))
	if err := p.readState(); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// readState learns from platform.json where the platform keeps its objects.
func (p *platform) readState() error {
	data, err := os.ReadFile(filepath.Join(p.data, "platform.json"))
	if err != nil {
		return err
	}
	var state struct {
		S3 struct {
			Endpoint, Bucket, Region string
			AccessKeyID              string `json:"access_key_id"`
			SecretAccessKey          string `json:"secret_access_key"`
		}
		PublicKey string `json:"public_key"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return err
	}
	p.s3 = map[string]string{
		"MODELSERVE_S3_ENDPOINT": state.S3.Endpoint, "MODELSERVE_S3_BUCKET": state.S3.Bucket, "MODELSERVE_S3_REGION": state.S3.Region,
		"MODELSERVE_S3_PATH_STYLE": "true", "MODELSERVE_S3_ACCESS_KEY_ID": state.S3.AccessKeyID,
		"MODELSERVE_S3_SECRET_ACCESS_KEY": state.S3.SecretAccessKey, "MODELSERVE_PUBLIC_KEY_FILE": state.PublicKey,
		"MODELSERVE_CACHE_DIR": filepath.Join(p.data, "cache"),
	}
	return nil
}

// waitReady asks url until it answers 200, for five minutes.
func waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, ctx.Err())
		}
	}
}

// function is a function that runs by itself, without gateway or activator.
type function struct {
	*process
	address, metrics string
}

// buildOnce builds a program into dir, unless it is there.
func buildOnce(ctx context.Context, dir, pkg string) (binary string, err error) {
	binary = filepath.Join(dir, filepath.Base(pkg))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

// startFunction builds a function, once, and runs it with the models given.
func (p *platform) startFunction(ctx context.Context, dir, pkg, models string) (f *function, err error) {
	binary, err := buildOnce(ctx, dir, pkg)
	if err != nil {
		return nil, err
	}
	f = new(function)
	if f.address, err = freeport.Address(ctx); err != nil {
		return nil, err
	}
	if f.metrics, err = freeport.Address(ctx); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(f.address)
	// As the base image and the local platform have it.
	env := map[string]string{"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "MODELSERVE_MODELS": models, "MODELSERVE_HOST": "127.0.0.1", "PORT": port, "MODELSERVE_METRICS_ADDRESS": f.metrics}
	maps.Copy(env, p.s3)
	if f.process, err = startProcess(binary, env); err != nil {
		return nil, err
	}
	if err := waitReady(ctx, "http://"+f.address+"/readyz"); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	return f, nil
}

// knowsBatchSizes reports whether the CLI can publish a maximum batch size.
func (p *platform) knowsBatchSizes(ctx context.Context) (bool, error) {
	help, err := exec.CommandContext(ctx, cli, "models", "push", "--help").Output()
	if err != nil {
		return false, fmt.Errorf("modelserve models push --help: %w", err)
	}
	return strings.Contains(string(help), "--max-batch-size"), nil
}

// modelserve runs the CLI against the platform.
func (p *platform) modelserve(ctx context.Context, args ...string) error {
	path, err := filepath.Abs(cli)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = filepath.Dir(p.data)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("modelserve %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// makeKey makes a key by which a tenant may call every model.
func (p *platform) makeKey(ctx context.Context, client *http.Client, tenant string) (string, error) {
	body, err := json.Marshal(map[string]any{"name": tenant, "tenant": tenant, "scopes": []string{"infer:*"}})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/v1/keys", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-API-Key", p.key)
	req.Header.Set("Content-Type", "application/json")
	answer, _, err := send(client, req)
	if err != nil {
		return "", fmt.Errorf("make a key for %s: %w", tenant, err)
	}
	var made struct{ Key string }
	if err := json.Unmarshal(answer, &made); err != nil {
		return "", fmt.Errorf("make a key for %s: %w", tenant, err)
	}
	return made.Key, nil
}
