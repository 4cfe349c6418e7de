package function

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/runtime/bucket"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// How a GPU is used where nothing else is configured. On an H100 four runs at once
// have most of what eight have, and every one takes memory of its own; more
// make small models slower. Eight sessions are the batches of 1 to 128.
const (
	gpuRuns     = 4
	gpuSessions = 8
)

// session is a loaded model: *ort.Session, or several of them.
type session interface {
	pool.Session
	Memory() int64
	Trim()
	Device() ort.Device
}

// onGPU is a model's sessions on a GPU, and the file that they are made of.
type onGPU struct {
	*bucket.Model
	device ort.Device
	file   *os.File // nil where there is only one
}

func (g *onGPU) Device() ort.Device { return g.device }

func (g *onGPU) Close() error {
	err := g.Model.Close()
	if g.file != nil {
		err = errors.Join(err, g.file.Close())
	}
	return err
}

// device is where this function's models run: chosen once, when ONNX Runtime
// has started, and reported in the log, in a metric and with every model.
type device struct {
	want   ort.Device
	memory int64 // bytes that one model may take of a GPU; 0 is no bound
	runs   int64 // bytes of main memory that one model's runs may take; 0 is no bound
	output int64 // bytes of one output
	logger *slog.Logger
	info   *prometheus.GaugeVec
	falls  prometheus.Counter
	choose func() (ort.Choice, error)
}

func newDevice(cfg *config, memory *budget, library func() (*ort.Library, error), registry prometheus.Registerer, logger *slog.Logger) *device {
	d := &device{
		want: cfg.device, memory: int64(cfg.GPUMemory), runs: memory.models, logger: logger,
		output: 2 * memory.maxOutput, // of a run for several requests, which are held to it one by one
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_device_info",
			Help: "1 for the device that models run on, and why it is not the GPU that would have been taken.",
		}, []string{"device", "reason"}),
		falls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_device_fallbacks_total",
			Help: "Models that could not be loaded on the GPU and were loaded on the CPU.",
		}),
	}
	if len(cfg.refs) == 0 {
		d.runs /= 2 // a model that anybody may push leaves others as much
	}
	registry.MustRegister(d.info, d.falls)
	d.choose = sync.OnceValues(func() (ort.Choice, error) {
		l, err := library()
		if err != nil {
			return ort.Choice{}, err
		}
		choice, err := l.Choose(d.want)
		d.report(choice, err)
		if err != nil {
			return choice, fmt.Errorf("MODELSERVE_DEVICE=%s: %w", d.want, err)
		}
		return choice, nil
	})
	return d
}

// report logs the choice and sets its metric. A GPU that is there and not used is
// a warning; a library that is built for the CPU was chosen by somebody.
func (d *device) report(choice ort.Choice, err error) {
	switch {
	case err != nil:
		d.info.WithLabelValues("none", err.Error()).Set(1)
		return // whoever asked logs or returns it
	case choice.Reason == "":
		d.logger.Info("models run on a device of their own choice", "device", choice.Device, "asked", d.want)
	case choice.CPUBuild:
		d.logger.Info("models run on the CPU", "device", choice.Device, "reason", choice.Reason)
	default:
		d.logger.Warn("models run on the CPU: the GPU cannot be used", "device", choice.Device, "reason", choice.Reason)
	}
	d.info.WithLabelValues(string(choice.Device), choice.Reason).Set(1)
}

// expected is where a model that is not loaded would run, as far as that is known
// without starting anything.
func (d *device) expected() string {
	if d.want != ort.Auto {
		return string(d.want.Numbered())
	}
	if path, err := ort.FindLibrary(); err == nil && !ort.HasCUDA(filepath.Clean(path)) {
		return string(ort.CPU)
	}
	return string(ort.Auto)
}

// slots is how many runs are to be under way at once. Where a GPU may be used it
// waits until that is decided, as everything does before it can run.
func (d *device) slots(cfg *config) int {
	switch {
	case cfg.Concurrency > 0:
		return cfg.Concurrency
	case d.expected() != string(ort.CPU):
		if choice, err := d.choose(); err == nil && choice.Device.IsGPU() {
			return gpuRuns
		}
	}
	return max(1, cfg.cores()/max(1, cfg.Threads))
}

// open loads a model where it is to run. Where the GPU was this program's own
// choice and cannot take the model, the CPU does, and the reason is returned.
func (d *device) open(l *ort.Library, path string, man *model.Manifest, threads int) (model session, reason string, err error) {
	choice, err := d.choose()
	if err != nil {
		return nil, "", err
	}
	options := ort.Options{Threads: threads, Device: choice.Device, GPUMemory: d.memory, RunMemory: d.runs, MaxOutput: d.output}
	if !choice.Device.IsGPU() {
		s, err := l.Open(path, options)
		return s, choice.Reason, err
	}
	if model, err = d.openGPU(l, path, man, options); err == nil || d.want != ort.Auto {
		return model, choice.Reason, err
	}
	refused := err
	options.Device = ort.CPU
	s, err := l.Open(path, options)
	if err != nil {
		return nil, "", err // the model's own fault, most likely
	}
	d.falls.Inc()
	d.logger.Warn("a model runs on the CPU: the GPU did not take it", "path", path, "gpu", choice.Device, "reason", refused)
	return s, fmt.Sprintf("%s did not take the model: %v", choice.Device, refused), nil
}

// openGPU loads a model on a GPU, with a session for each of its usual shapes.
// A model whose memory there is bounded has one, which has all of it; so has one
// whose weights are in other files, which need not outlive the load.
func (d *device) openGPU(l *ort.Library, path string, man *model.Manifest, options ort.Options) (session, error) {
	first, err := l.Open(path, options)
	if err != nil {
		return nil, err
	}
	cfg := bucket.Config{Signature: &man.Signature, Sessions: gpuSessions}
	if man.Batching != nil {
		cfg.MaxRows = man.Batching.MaxBatchSize
	}
	external, err := ort.ExternalData(path)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	if len(external) > 0 || d.memory > 0 {
		return &onGPU{bucket.New(first, cfg), first.Device(), nil}, nil
	}
	kept, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, first.Close())
	}
	cfg.Open = func() (bucket.Session, error) {
		// The file may be gone from the cache by now, and is still this one.
		s, err := l.Open(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), options)
		if err != nil {
			d.logger.Warn("a model has fewer sessions on the GPU than it has shapes", "path", path, "gpu", options.Device, "reason", err)
		}
		return s, err
	}
	return &onGPU{bucket.New(first, cfg), first.Device(), kept}, nil
}
