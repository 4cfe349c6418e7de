package function

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/emit"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Environment is all that a function reads of its environment, as pointers to
// structs that internal/env knows: for documentation.
func Environment() []any { return []any{&config{}} }

// config is everything a function reads from its environment.
type config struct {
	Host          string        `env:"MODELSERVE_HOST"`                               // the address to listen on; "" is every one
	Port          int           `env:"PORT" envDefault:"8080"`                        // the port to listen on, which Knative sets
	Socket        int           `env:"MODELSERVE_LISTEN_FD"`                          // an inherited file descriptor of a bound socket, to listen on instead of PORT; 0 is none
	Secret        string        `env:"MODELSERVE_SECRET"`                             // what requests must bring in the header Modelserve-Secret; "" is nothing
	GatewaySecret string        `env:"MODELSERVE_GATEWAY_SECRET,unset" filled:"true"` // what the gateway's requests bring in the header Modelserve-Secret, where others may call too: refs are opened for these alone
	SharedInputs  []string      `env:"MODELSERVE_SHARED_INPUTS"`                      // folders below inputs/ of the bucket whose objects every tenant's refs may name, such as public
	Grace         time.Duration `env:"MODELSERVE_GRACE" envDefault:"25s"`             // how long what was begun may take to finish after SIGTERM

	TerminationLog string `env:"MODELSERVE_TERMINATION_LOG" envDefault:"/dev/termination-log"` // the file for the reason of a bad end, a Service's terminationMessagePath; it is not made where it is not there

	Models []string `env:"MODELSERVE_MODELS,required"` // the models that are served, each as name@version, or * for every published one

	S3          artifact.Config
	Trust       sign.Trust
	Pipelines   ticket.Trust
	CacheDir    string   `env:"MODELSERVE_CACHE_DIR"`                        // the folder of fetched model files, which is to be this user's alone: where others may write to it, user-UID in it is used; "" is one of this user's in the system's temporary folder, "none" keeps files in memory as long as they are used
	CacheSize   env.Size `env:"MODELSERVE_CACHE_SIZE" envDefault:"4GiB"`     // bytes of model files kept on the node
	CacheMemory env.Size `env:"MODELSERVE_CACHE_MEMORY" envDefault:"512MiB"` // the largest model file that is loaded from memory, when no folder takes it; 0 is never

	Device      string   `env:"MODELSERVE_DEVICE" envDefault:"auto"`  // what models run on: auto (a GPU where there is one), cpu, cuda or cuda:N
	GPUMemory   env.Size `env:"MODELSERVE_GPU_MEMORY" envDefault:"0"` // bytes that one model may take of a GPU; 0 is no bound
	Threads     int      `env:"MODELSERVE_THREADS" envDefault:"1"`    // processor threads of one run
	Concurrency int      `env:"MODELSERVE_CONCURRENCY"`               // runs of one model at once; 0 is one for each processor, or 4 on a GPU. One run of 5 ms or less may go beside them
	Queue       int      `env:"MODELSERVE_QUEUE" envDefault:"256"`    // requests that may wait for a run of one model

	Memory      env.Size `env:"MODELSERVE_MEMORY"`       // bytes that models may take, with what their runs compute; 0 is half of what the process may have, or of the machine; seven sixteenths where MODELSERVE_MODELS are fixed
	MemoryLimit env.Size `env:"MODELSERVE_MEMORY_LIMIT"` // bytes that the process may have, where no control group says so: the local platform sets it; 0 is no such limit

	MaxLoaded int `env:"MODELSERVE_MAX_LOADED" envDefault:"64"` // model versions in memory at once

	LoadTimeout time.Duration `env:"MODELSERVE_LOAD_TIMEOUT" envDefault:"5m"`     // for one model to be fetched, verified and loaded
	MaxBody     env.Size      `env:"MODELSERVE_MAX_BODY" envDefault:"32MiB"`      // bytes of one body or gRPC message, decompressed; less where six of them are more than a tenant may hold
	MaxOutput   env.Size      `env:"MODELSERVE_MAX_OUTPUT" envDefault:"256MiB"`   // bytes of one answer; less where two and a quarter of them are more than a tenant may hold
	MaxPixels   int64         `env:"MODELSERVE_MAX_PIXELS" envDefault:"64000000"` // pixels of one image; less where 6 bytes for each are more than a tenant may hold
	Inflight    env.Size      `env:"MODELSERVE_MAX_INFLIGHT"`                     // bytes that all requests hold at once: bodies, what is decoded of them, and answers until they are written; a tenant has half of it at most; 0 is three eighths of what the process may have, or an eighth of the machine
	BodyTimeout time.Duration `env:"MODELSERVE_BODY_TIMEOUT" envDefault:"30s"`    // that a client may keep a body waiting, and a second more for each 16 KiB that have come

	Sink      emit.Config
	Telemetry telemetry.Config

	refs       []model.Ref // Models, parsed; nil is every one
	device     ort.Device  // Device, parsed
	processors int         // that there are; 0 is as many as Go runs goroutines at once
}

// cores is how many processors there are.
func (c *config) cores() int { return cmp.Or(c.processors, runtime.GOMAXPROCS(0)) }

// noCache is the CacheDir of a function that keeps no files.
const noCache = "none"

// minGPUMemory is less than any model takes of a GPU: a bound below it is a
// mistake of the unit.
const minGPUMemory = 64 * env.MiB

// Check implements env.Checker.
func (c *config) Check() []error {
	faults := slices.Concat(c.S3.Check(), c.Trust.Check(), c.Pipelines.Check(), c.Sink.Check())
	fault := func(variable, format string, args ...any) {
		faults = append(faults, env.Faultf(variable, format, args...))
	}
	if c.Port < 0 || c.Port > 65535 {
		fault("PORT", "expected 0 to 65535, got %d", c.Port)
	}
	if c.Socket != 0 && c.Socket < 3 {
		fault(lifecycle.ListenVariable, "expected a file descriptor from 3 on, got %d", c.Socket)
	}
	if err := infer.CheckSecret(c.GatewaySecret); err != nil {
		fault("MODELSERVE_GATEWAY_SECRET", "%v", err)
	}
	for _, folder := range c.SharedInputs {
		if err := artifact.CheckShared(folder); err != nil {
			fault("MODELSERVE_SHARED_INPUTS", "%v", err)
		}
	}
	for _, bound := range []struct {
		variable string
		is       int64
	}{
		{"MODELSERVE_GRACE", int64(c.Grace)},
		{"MODELSERVE_CACHE_SIZE", int64(c.CacheSize)},
		{"MODELSERVE_THREADS", int64(c.Threads)},
		{"MODELSERVE_MAX_LOADED", int64(c.MaxLoaded)},
		{"MODELSERVE_LOAD_TIMEOUT", int64(c.LoadTimeout)},
		{"MODELSERVE_MAX_BODY", int64(c.MaxBody)},
		{"MODELSERVE_MAX_OUTPUT", int64(c.MaxOutput)},
		{"MODELSERVE_MAX_PIXELS", c.MaxPixels},
		{"MODELSERVE_BODY_TIMEOUT", int64(c.BodyTimeout)},
	} {
		if bound.is < 1 {
			fault(bound.variable, "expected more than zero, got %d", bound.is)
		}
	}
	if c.Concurrency < 0 {
		fault("MODELSERVE_CONCURRENCY", "expected 0 (one for each processor, or 4 on a GPU) or more, got %d", c.Concurrency)
	}
	for _, size := range []struct {
		variable string
		is       env.Size
	}{{"MODELSERVE_MEMORY", c.Memory}, {"MODELSERVE_MEMORY_LIMIT", c.MemoryLimit}, {"MODELSERVE_MAX_INFLIGHT", c.Inflight}} {
		if size.is < 0 {
			fault(size.variable, "expected 0 (what follows from the machine) or more, got %v", size.is)
		}
	}
	if c.Queue < 0 {
		fault("MODELSERVE_QUEUE", "expected 0 or more, got %d", c.Queue)
	}
	var err error
	if c.device, err = ort.ParseDevice(c.Device); err != nil {
		fault("MODELSERVE_DEVICE", "%v", err)
	}
	if c.GPUMemory < 0 || c.GPUMemory > 0 && c.GPUMemory < minGPUMemory {
		fault("MODELSERVE_GPU_MEMORY", "expected 0 (no bound) or at least %v, got %v", minGPUMemory, c.GPUMemory)
	}
	if !slices.Equal(c.Models, []string{"*"}) {
		for _, text := range c.Models {
			ref, err := model.ParsePinned(strings.TrimSpace(text))
			if err != nil {
				fault("MODELSERVE_MODELS", "expected * or a list of name@version: %q: %v", text, err)
				continue
			}
			c.refs = append(c.refs, ref)
		}
	}
	c.fill()
	return faults
}

// fill sets what follows from the machine.
func (c *config) fill() {
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(os.TempDir(), fmt.Sprintf("modelserve-cache-%d", os.Geteuid()))
	}
}
