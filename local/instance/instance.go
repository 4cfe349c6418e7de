// Package instance runs one copy of a function as a process: its environment,
// its port, its readiness, and the connections to it.
package instance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local/process"
)

// Spec is what to run.
type Spec struct {
	Service, Revision string
	Program           string // path
	Args              []string
	Env               []string      // of the manifest
	Probe             *corev1.Probe // defaulted
	Limits            corev1.ResourceList
}

// Launcher starts instances.
type Launcher struct {
	spawner *process.Spawner
	dir     string   // for termination logs
	base    []string // under the manifest's variables
	over    []string // over them
	line    func(service string, line []byte)
	logger  *slog.Logger
	ports   *ports
}

// NewLauncher makes a Launcher, which keeps what instances report of themselves in
// dir. Each gets base, then its manifest's variables, then over. line gets what
// they write.
func NewLauncher(spawner *process.Spawner, dir string, base, over []string, line func(service string, line []byte), logger *slog.Logger) *Launcher {
	return &Launcher{
		spawner: spawner, dir: dir, base: base, over: over, line: line, logger: logger,
		ports: &ports{taken: map[int]bool{}},
	}
}

// Instance is a started function.
type Instance struct {
	process *process.Process
	probe   *corev1.Probe
	at      *place
	secret  string
	report  termination
	http1   *http.Transport
	http2   *http.Transport
	done    chan struct{}
	killed  error  // set before done is closed, when the platform killed it
	reason  string // set before done is closed: what it reported of its end
}

// Start starts an instance.
func (l *Launcher) Start(ctx context.Context, s Spec) (*Instance, error) {
	at, socket, err := l.ports.take(ctx)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	secret := rand.Text()
	report, err := newTermination(l.dir, at.own)
	if err != nil {
		at.release()
		return nil, fmt.Errorf("start %s: %w", s.Revision, err)
	}
	p, err := l.spawner.Start(process.Command{
		Path: s.Program,
		Args: s.Args,
		Env: append(l.environment(s, at.own), "MODELSERVE_TERMINATION_LOG="+string(report), "MODELSERVE_SECRET="+secret,
			lifecycle.ListenVariable+"="+strconv.Itoa(process.FirstFile)),
		Files: []*os.File{socket},
		Line:  func(line []byte) { l.line(s.Service, line) },
	})
	if err != nil {
		report.remove()
		at.release()
		return nil, fmt.Errorf("start %s: %w", s.Revision, err)
	}
	i := &Instance{process: p, probe: s.Probe, at: at, secret: secret, report: report, http1: transport(at), http2: transport(at), done: make(chan struct{})}
	i.http1.Protocols.SetHTTP1(true)
	i.http2.Protocols.SetUnencryptedHTTP2(true)
	i.http2.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: lifecycle.DefaultLimits().StreamBuffer} // of answers that their clients do not read
	go func() {                                                                                          // ends with the process, which Stop waits for
		i.watch(s.Limits.Memory().Value())
		i.http1.CloseIdleConnections()
		i.http2.CloseIdleConnections()
		i.reason = report.read()
		report.remove()
		at.release()
		close(i.done)
	}()
	l.logger.Debug("instance started", "revision", s.Revision, "pid", p.PID(), "port", at.own, "handed", at.handed)
	return i, nil
}

func transport(at *place) *http.Transport {
	return &http.Transport{
		Protocols:           new(http.Protocols),
		DialContext:         at.dial,
		DisableCompression:  true, // what the client asked for goes through as it is
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,
	}
}

// environment composes what the process sees.
func (l *Launcher) environment(s Spec, port int) []string {
	env := append([]string(nil), l.base...)
	if cpus := s.Limits.Cpu().AsApproximateFloat64(); cpus > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(int(math.Ceil(cpus))))
	}
	if memory := s.Limits.Memory().Value(); memory > 0 { // as a container's control group says
		env = append(env, "MODELSERVE_MEMORY_LIMIT="+strconv.FormatInt(memory, 10))
	}
	env = append(env, s.Env...)
	env = append(env, l.over...)
	return append(env,
		"PORT="+strconv.Itoa(port),
		"K_SERVICE="+s.Service, "K_CONFIGURATION="+s.Service, "K_REVISION="+s.Revision)
}

// memoryInterval is how often a limit on memory is looked at.
const memoryInterval = 500 * time.Millisecond

// watch returns when the process has ended, and ends it when it holds more
// memory than limit bytes; 0 is no limit.
func (i *Instance) watch(limit int64) {
	if limit <= 0 {
		<-i.process.Done()
		return
	}
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-i.process.Done():
			return
		case <-ticker.C:
		}
		if used, ok := i.process.Memory(); ok && used > limit {
			i.killed = fmt.Errorf("it was killed: it held %d MiB of memory, over its limit of %d MiB", used>>20, limit>>20)
			i.process.Kill()
			<-i.process.Done()
			return
		}
	}
}

// Address is where the instance listens, host:port. Call it once the instance was
// ready.
func (i *Instance) Address() string { return i.at.address() }

// Secret is what its requests bring, in infer.SecretHeader: any user of this
// machine can reach its port, and a function of ours answers none without. One
// of others finds it in MODELSERVE_SECRET.
func (i *Instance) Secret() string { return i.secret }

// Memory is its resident memory in bytes, where that is known.
func (i *Instance) Memory() (resident int64, ok bool) { return i.process.Memory() }

// Done is closed when the instance has ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Err is why it ended: what it reported of that itself, else what is seen of a
// process. Call it after Done.
func (i *Instance) Err() error {
	err := i.process.Err()
	switch {
	case i.killed != nil:
		return i.killed
	case err != nil && i.reason != "":
		return errors.New(i.reason)
	default:
		return err //nolint:wrapcheck // it is the reason itself
	}
}

// Stop lets it finish within grace and ends it.
func (i *Instance) Stop(grace time.Duration) {
	i.process.Stop(grace)
	<-i.done
}

// Transport is that to the instance: HTTP/2 without TLS when h2c, as gRPC needs,
// else HTTP/1.1.
func (i *Instance) Transport(h2c bool) http.RoundTripper {
	if h2c {
		return i.http2
	}
	return i.http1
}
