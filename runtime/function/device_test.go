package function

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// noGPU is the reason with the library that tests have, which knows no GPU.
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
		t.Error("the log has no reason")
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
	library, err := openLibrary(&budget{}, slog.New(slog.DiscardHandler))
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
			d := newDevice(&config{device: tc.want}, &budget{}, func() (*ort.Library, error) { return library, nil },
				registry, slog.New(slog.DiscardHandler))
			if got := d.expected(); got != tc.would {
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
				t.Errorf("the metric has %q because %q", device, reason)
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

// A library that does not start is an error for whoever asks for the device.
func TestDeviceWithoutALibrary(t *testing.T) {
	t.Parallel()
	broken := errors.New("no library")
	d := newDevice(&config{device: ort.Auto}, &budget{}, func() (*ort.Library, error) { return nil, broken },
		prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if _, err := d.choose(); !errors.Is(err, broken) {
		t.Errorf("choose: %v", err)
	}
	if _, _, err := d.open(nil, "", nil, 1); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
}

// Another session of a model is made of the file that it was loaded from, which
// the cache may have dropped. The CPU stands in for the GPU.
func TestSessionsOfAFileThatIsGone(t *testing.T) {
	t.Parallel()
	path, err := ort.FindLibrary()
	if err != nil {
		t.Fatal(err)
	}
	library, err := ort.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if live := library.Live(); live.Sessions != 0 {
			t.Errorf("left: %+v", live)
		}
		if err := library.Close(); err != nil {
			t.Error(err)
		}
	})
	axis := 0
	sig := &infer.Signature{BatchAxis: &axis, Inputs: []infer.TensorSpec{{Name: "x"}}, Outputs: []infer.TensorSpec{{Name: "y"}}}
	for name, tc := range map[string]struct {
		bound    int64
		model    onnxtest.Model
		beside   string // float32s of 3
		of5      float32
		sessions int
	}{
		"for each shape":                 {0, onnxtest.Scale(2, 3), "", 15, 2},
		"one has all of a bound":         {1 << 30, onnxtest.Scale(2, 3), "", 15, 1},
		"one has weights in other files": {0, onnxtest.External(2, "weights"), "weights", 8, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := tc.model.Write(t)
			if tc.beside != "" {
				if err := os.WriteFile(filepath.Join(filepath.Dir(file), tc.beside), []byte{0, 0, 64, 64, 0, 0, 64, 64}, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			model, err := (&device{memory: tc.bound}).openGPU(library, file, &model.Manifest{Signature: *sig}, ort.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
			for rows := 1; rows <= 3; rows += 2 {
				values := make([]float32, 2*rows)
				values[2*rows-1] = 5
				out, release, err := model.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{infer.NewTensor("x", []int64{int64(rows), 2}, values)}, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := infer.Values[float32](&out[0])
				if err != nil || len(got) != 2*rows || got[2*rows-1] != tc.of5 {
					t.Errorf("%d rows: %v, %v", rows, got, err)
				}
				release()
			}
			if n := model.(*onGPU).Sessions(); n != tc.sessions || model.Device() != ort.CPU {
				t.Errorf("%d sessions on %s", n, model.Device())
			}
			if err := model.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	processors := runtime.GOMAXPROCS(0)
	for name, tc := range map[string]struct {
		want   ort.Device
		chosen ort.Choice
		err    error
		cfg    config
		slots  int
	}{
		"as asked":              {ort.CUDA, ort.Choice{Device: "cuda:0"}, nil, config{Concurrency: 7, Threads: 1}, 7},
		"on a GPU":              {ort.CUDA, ort.Choice{Device: "cuda:0"}, nil, config{Threads: 1}, gpuRuns},
		"on processors":         {ort.CPU, ort.Choice{Device: ort.CPU}, nil, config{Threads: 1}, processors},
		"with threads to spare": {ort.CPU, ort.Choice{Device: ort.CPU}, nil, config{Threads: 1, processors: 64}, 64},
		"with all processors":   {ort.CPU, ort.Choice{Device: ort.CPU}, nil, config{Threads: processors}, 1},
		"a GPU that is not":     {ort.CUDA, ort.Choice{}, errors.New("none"), config{Threads: 1}, processors},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &device{want: tc.want, choose: func() (ort.Choice, error) { return tc.chosen, tc.err }}
			if got := d.slots(&tc.cfg); got != tc.slots {
				t.Errorf("%d at once, not %d", got, tc.slots)
			}
		})
	}
}
