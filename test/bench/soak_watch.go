package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// watched is the pool's process, as seen from outside.
type watched struct {
	*process
	pid     int
	metrics string // address
	samples []sample
}

// sample is what the process holds at one moment.
type sample struct {
	resident, goroutines, files float64
}

// findPool finds the one process of the pool.
func (p *platform) findPool(ctx context.Context) (*watched, error) {
	pids, err := p.processes("pool")
	if err != nil {
		return nil, err
	}
	if len(pids) != 1 {
		return nil, fmt.Errorf("expected one process of the pool, got %d", len(pids))
	}
	w := &watched{pid: pids[0], process: &process{cmd: &exec.Cmd{Process: &os.Process{Pid: pids[0]}}}}
	addresses, err := listening(w.pid)
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		w.metrics = address
		if found, err := w.read(ctx); err == nil && len(found) > 0 {
			return w, nil
		}
	}
	return nil, fmt.Errorf("the pool listens on %v, and shows no metrics there", addresses)
}

// processes are those of a function of this platform ("" is any).
func (p *platform) processes(name string) (pids []int, err error) {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	for _, path := range environs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		vars := strings.Split(string(data), "\x00")
		if slices.Contains(vars, "MODELSERVE_S3_ENDPOINT="+p.s3["MODELSERVE_S3_ENDPOINT"]) && slices.ContainsFunc(vars, func(v string) bool {
			service, ok := strings.CutPrefix(v, "K_SERVICE=")
			return ok && (name == "" || service == name)
		}) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// listening are the local addresses on which a process listens (proc(5)).
func listening(pid int) (addresses []string, err error) {
	own, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	sockets := map[string]bool{}
	for _, fd := range own {
		if to, err := os.Readlink(fd); err == nil {
			sockets[to] = true
		}
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return nil, err
	}
	const listens, inode = "0A", 9
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) <= inode || fields[3] != listens || !sockets["socket:["+fields[inode]+"]"] {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", n))
	}
	return addresses, nil
}

// series are samples by name and labels, as /metrics has them.
type series map[string]float64

// sum adds up the samples of a name that have all of the labels.
func (s series) sum(name string, labels ...string) (total float64) {
	for key, value := range s {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(key, l) }) {
			total += value
		}
	}
	return total
}

// read reads the pool's metrics.
func (w *watched) read(ctx context.Context) (series, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &statusError{status: res.StatusCode}
	}
	found := series{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		key, text, ok := strings.Cut(lines.Text(), " ")
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 { // labels may hold spaces
			key, text = lines.Text()[:i], lines.Text()[i+1:]
		}
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && !strings.HasPrefix(key, "#") {
			found[key] = value
		}
	}
	return found, lines.Err()
}

// watch samples the pool each second until ctx ends.
func (w *watched) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		resident, err := w.resident()
		if err != nil {
			return fmt.Errorf("the pool: %w", err)
		}
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.pid))
		if err != nil {
			return fmt.Errorf("the pool: %w", err)
		}
		found, err := w.read(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("the pool's metrics: %w", err)
		}
		if err == nil {
			w.samples = append(w.samples, sample{float64(resident), found.sum("go_goroutines"), float64(len(files))})
		}
	}
}

// quarters are the medians of one figure in the second and the last quarter.
func (w *watched) quarters(of func(sample) float64) (second, last float64, err error) {
	n := len(w.samples) / 4
	if n < 5 {
		return 0, 0, errors.New("too short to tell: expected 20 s or more")
	}
	values := make([]float64, len(w.samples))
	for i, s := range w.samples {
		values[i] = of(s)
	}
	return median(values[n : 2*n]), median(values[len(values)-n:]), nil
}
