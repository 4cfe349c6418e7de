package function

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/runtime/ort"
)

// noGPU is what is said of the library that tests have, which knows no GPU.
const noGPU = "this ONNX Runtime is built for the CPU"

func TestAutoFallsBackToTheCPUAndSaysWhy(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	publish(t, environment)
	p := begin(t, Spec{Name: "double"}, environment) // auto is the default
	p.waitReady()
	if status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", input); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, body, err)
	}
	_, body, err := p.ask(http.MethodGet, "/v2/models/double", "")
	if err != nil || !strings.Contains(body, `"device":"cpu"`) || !strings.Contains(body, `"device_reason":"`+noGPU) {
		t.Errorf("metadata: %s %v", body, err)
	}
	if !strings.Contains(p.log.String(), noGPU) {
		t.Error("the log does not say why")
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Error(err)
	}
}

func TestCUDAWithoutAGPUIsAClearFailure(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	publish(t, environment)
	environment["MODELSERVE_DEVICE"] = "cuda"
	p := begin(t, Spec{Name: "double"}, environment)
	if err := <-p.done; err == nil || !strings.Contains(err.Error(), "MODELSERVE_DEVICE=cuda") || !strings.Contains(err.Error(), noGPU) {
		t.Errorf("it ends with %v", err)
	}
}

func TestDeviceIsInAMetric(t *testing.T) {
	t.Parallel()
	library, err := openLibrary()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { library.Close() })
	for name, tc := range map[string]struct {
		want   ort.Device
		would  string
		device string // in the metric
		reason string
		fails  bool
	}{
		"cpu":    {ort.CPU, "cpu", "cpu", "", false},
		"auto":   {ort.Auto, "cpu", "cpu", noGPU, false},
		"cuda":   {ort.CUDA, "cuda:0", "none", noGPU, true},
		"cuda:1": {"cuda:1", "cuda:1", "none", noGPU, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			d := newDevice(&config{device: tc.want}, func() (*ort.Library, error) { return library, nil },
				registry, slog.New(slog.DiscardHandler))
			if got := d.would(); got != tc.would {
				t.Errorf("would run on %q, want %q", got, tc.would)
			}
			for range 2 {
				_, err := d.choose()
				var unusable *ort.DeviceError
				if tc.fails != errors.As(err, &unusable) {
					t.Errorf("choose: %v", err)
				}
			}
			device, reason := labels(t, registry)
			if device != tc.device || !strings.Contains(reason, tc.reason) || (tc.reason == "") != (reason == "") {
				t.Errorf("the metric says %q because %q", device, reason)
			}
		})
	}
}

// labels are those of the one series of modelserve_device_info.
func labels(t *testing.T, registry prometheus.Gatherer) (device, reason string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "modelserve_device_info" {
			continue
		}
		if len(f.GetMetric()) != 1 || f.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Errorf("series: %v", f.GetMetric())
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			switch l.GetName() {
			case "device":
				device = l.GetValue()
			case "reason":
				reason = l.GetValue()
			}
		}
	}
	return device, reason
}

// A library that does not start is told to whoever asks for the device.
func TestDeviceWithoutALibrary(t *testing.T) {
	t.Parallel()
	broken := errors.New("no library")
	d := newDevice(&config{device: ort.Auto}, func() (*ort.Library, error) { return nil, broken },
		prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if _, err := d.choose(); !errors.Is(err, broken) {
		t.Errorf("choose: %v", err)
	}
	if _, _, err := d.open(nil, "", 1); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
}
