package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// containerLog is what the cluster's containerd writes, from where it ended when
// it was opened; nil on a cluster that `make cluster` did not make.
type containerLog struct {
	file *os.File
}

func openContainerLog() (*containerLog, error) {
	program := os.Getenv("MODELSERVE_CLUSTER")
	if program == "" {
		return nil, nil //nolint:nilnil // no log is no error
	}
	file, err := os.Open(filepath.Join(filepath.Dir(program), "../log/containerd.log"))
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekEnd); err != nil {
		file.Close()
		return nil, err
	}
	return &containerLog{file: file}, nil
}

// containerMoments end the parts that containerd knows of: the sandbox is begun
// (what the kubelet does before is over: volumes), it is there, the function's
// container is begun (its image is there), it runs, queue-proxy runs.
type containerMoments [5]time.Time

var (
	logTime      = regexp.MustCompile(`^time="([^"]+)"`)
	sandboxBegun = regexp.MustCompile(`msg="RunPodSandbox for &PodSandboxMetadata{Name:([^,]+),[^}]*}"`)
	sandboxMade  = regexp.MustCompile(`msg="RunPodSandbox for &PodSandboxMetadata{Name:([^,]+),[^}]*} returns sandbox id \\"(\w+)`)
	createBegun  = regexp.MustCompile(`msg="CreateContainer within sandbox \\"(\w+)\\" for container &ContainerMetadata{Name:([^,]+),`)
	created      = regexp.MustCompile(`msg="CreateContainer within sandbox \\"(\w+)\\" for &ContainerMetadata{Name:([^,]+),[^}]*} returns container id \\"(\w+)`)
	started      = regexp.MustCompile(`msg="StartContainer for \\"(\w+)\\" returns successfully"`)
)

// read returns the moments of the first pod of a service since the log was
// opened, and closes it.
func (l *containerLog) read(service string) (m containerMoments, err error) {
	if l == nil {
		return m, nil
	}
	defer l.file.Close()
	text, err := io.ReadAll(l.file)
	if err != nil {
		return m, err
	}
	return momentsOf(string(text), service), nil
}

func momentsOf(log, service string) (m containerMoments) {
	var pod, sandbox, function, proxy string
	for line := range strings.Lines(log) {
		found := logTime.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, found[1])
		if err != nil {
			continue
		}
		mark := func(i int) {
			if m[i].IsZero() {
				m[i] = at
			}
		}
		if f := sandboxBegun.FindStringSubmatch(line); f != nil && pod == "" && strings.HasPrefix(f[1], service+"-") {
			pod = f[1]
			mark(0)
		}
		if f := sandboxMade.FindStringSubmatch(line); f != nil && f[1] == pod {
			sandbox = f[2]
			mark(1)
		}
		if f := createBegun.FindStringSubmatch(line); f != nil && f[1] == sandbox && f[2] != "queue-proxy" {
			mark(2)
		}
		if f := created.FindStringSubmatch(line); f != nil && f[1] == sandbox {
			if f[2] == "queue-proxy" {
				proxy = f[3]
			} else {
				function = f[3]
			}
		}
		if f := started.FindStringSubmatch(line); f != nil {
			switch f[1] {
			case function:
				mark(3)
			case proxy:
				mark(4)
			}
		}
	}
	return m
}
