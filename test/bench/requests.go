package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clockTick is the unit of a process's times in /proc (proc(5), USER_HZ).
const clockTick = 10 * time.Millisecond

// use is what a function's process has taken of the machine.
type use struct {
	resident, peak int64 // bytes
	processor      time.Duration
}

// requests says what each function takes under as many calls as it is allowed,
// which is what its manifest's requests and limits are held against. The cluster
// has to be the one of this machine: its processes are looked at.
func (o *options) requests(ctx context.Context, _ *platform, _ string) (rows []row, err error) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" || os.Getenv("GATEWAY_URL") == "" {
		return nil, errNoCluster
	}
	fmt.Printf("\n| function | calls at once | loaded, MB | under load, MB | at most, MB | processor for a call, ms | processors |\n|%s\n", strings.Repeat(" --- |", 7))
	for _, s := range sleepers()[floors:] {
		if err := s.measureUse(ctx, time.Duration(o.rounds)*o.turn); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil, nil
}

func (s *sleeper) measureUse(ctx context.Context, length time.Duration) error {
	body, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	if _, err := s.call(ctx, body); err != nil {
		return err
	}
	text, err := command(ctx, "", "kubectl", "get", "ksvc", s.name, "-o", "jsonpath={.spec.template.spec.containerConcurrency}")
	if err != nil {
		return err
	}
	concurrency, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	proc, err := s.process(ctx)
	if err != nil {
		return err
	}
	before, err := useOf(proc)
	if err != nil {
		return err
	}
	began := time.Now()
	calls, err := s.flood(ctx, body, concurrency, length)
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := useOf(proc)
	if err != nil {
		return err
	}
	spent := after.processor - before.processor
	fmt.Printf("| %s | %d | %d | %d | %d | %.1f | %.2f |\n", s.name, concurrency, before.resident>>20, after.resident>>20, after.peak>>20,
		spent.Seconds()*1000/float64(calls), spent.Seconds()/took.Seconds())
	return nil
}

// flood calls with a number of clients for a while.
func (s *sleeper) flood(ctx context.Context, body []byte, clients int, length time.Duration) (int64, error) {
	var (
		group  sync.WaitGroup
		calls  atomic.Int64
		mu     sync.Mutex
		failed error
	)
	for end := time.Now().Add(length); clients > 0; clients-- {
		group.Go(func() {
			for time.Now().Before(end) {
				if _, err := s.call(ctx, body); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				calls.Add(1)
			}
		})
	}
	group.Wait()
	return calls.Load(), failed
}

// process is the folder in /proc of the function's container.
func (s *sleeper) process(ctx context.Context) (string, error) {
	id, err := command(ctx, "", "kubectl", "get", "pods", "-l", "serving.knative.dev/service="+s.name,
		"-o", `jsonpath={.items[0].status.containerStatuses[?(@.name=="function")].containerID}`)
	if err != nil {
		return "", err
	}
	if id = strings.TrimPrefix(strings.TrimSpace(id), "containerd://"); id == "" {
		return "", errors.New("its pod has no container named function")
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return "", err
	}
	for _, group := range groups {
		if text, err := os.ReadFile(group); err == nil && strings.Contains(string(text), id) { // others end meanwhile
			return filepath.Dir(group), nil
		}
	}
	return "", fmt.Errorf("no process in a cgroup of %s", id)
}

func useOf(proc string) (u use, err error) {
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) != 3 { // name, number, kB
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			u.resident = n << 10
		case "VmHWM:":
			u.peak = n << 10
		}
	}
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return u, err
	}
	// After the name in parentheses: state is the third field, utime and stime the
	// 14th and 15th (proc(5)).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat: %q", proc, stat)
	}
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.processor += time.Duration(n) * clockTick
	}
	return u, nil
}
