package function

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/runtime/ort"
)

// device is where this function's models run: chosen once, when ONNX Runtime
// has started, and told in the log, in a metric and with every model.
type device struct {
	want   ort.Device
	memory int64 // bytes that one model may take of a GPU; 0 is no bound
	logger *slog.Logger
	info   *prometheus.GaugeVec
	falls  prometheus.Counter
	choose func() (ort.Choice, error)
}

func newDevice(cfg *config, library func() (*ort.Library, error), registry prometheus.Registerer, logger *slog.Logger) *device {
	d := &device{
		want: cfg.device, memory: int64(cfg.GPUMemory), logger: logger,
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "modelserve_device_info",
			Help: "1 for the device that models run on, and why it is not the GPU that would have been taken.",
		}, []string{"device", "reason"}),
		falls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_device_fallbacks_total",
			Help: "Models that could not be loaded on the GPU and were loaded on the CPU.",
		}),
	}
	registry.MustRegister(d.info, d.falls)
	d.choose = sync.OnceValues(func() (ort.Choice, error) {
		l, err := library()
		if err != nil {
			return ort.Choice{}, err
		}
		choice, err := l.Choose(d.want)
		d.tell(choice, err)
		if err != nil {
			return choice, fmt.Errorf("MODELSERVE_DEVICE=%s: %w", d.want, err)
		}
		return choice, nil
	})
	return d
}

// tell makes the choice known. A GPU that is there and not used deserves a
// warning; a library that is built for the CPU was chosen by somebody.
func (d *device) tell(choice ort.Choice, err error) {
	switch {
	case err != nil:
		d.info.WithLabelValues("none", err.Error()).Set(1)
		return // whoever asked says so
	case choice.Reason == "":
		d.logger.Info("models run on a device of their own choice", "device", choice.Device, "asked", d.want)
	case choice.CPUBuild:
		d.logger.Info("models run on the CPU", "device", choice.Device, "reason", choice.Reason)
	default:
		d.logger.Warn("models run on the CPU: the GPU cannot be used", "device", choice.Device, "reason", choice.Reason)
	}
	d.info.WithLabelValues(string(choice.Device), choice.Reason).Set(1)
}

// would is where a model that is not loaded would run, as far as that is known
// without starting anything.
func (d *device) would() string {
	if d.want != ort.Auto {
		return string(d.want.Numbered())
	}
	if path, err := ort.FindLibrary(); err == nil && !ort.HasCUDA(filepath.Clean(path)) {
		return string(ort.CPU)
	}
	return string(ort.Auto)
}

// open loads a model where it is to run. Where the GPU was this program's own
// choice and cannot take the model, the CPU does, and the reason is returned.
func (d *device) open(l *ort.Library, path string, threads int) (session *ort.Session, reason string, err error) {
	choice, err := d.choose()
	if err != nil {
		return nil, "", err
	}
	options := ort.Options{Threads: threads, Device: choice.Device, GPUMemory: d.memory}
	session, err = l.Open(path, options)
	if err == nil || d.want != ort.Auto || !choice.Device.IsGPU() {
		return session, choice.Reason, err
	}
	refused := err
	options.Device = ort.CPU
	if session, err = l.Open(path, options); err != nil {
		return nil, "", err // the model's own fault, most likely
	}
	d.falls.Inc()
	d.logger.Warn("a model runs on the CPU: the GPU did not take it", "path", path, "gpu", choice.Device, "reason", refused)
	return session, fmt.Sprintf("%s did not take the model: %v", choice.Device, refused), nil
}
