package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

func TestPushMaxElements(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	for given, tc := range map[string]struct {
		code int
		want string
	}{
		"0":   {exitUsage, "--max-elements: expected a positive integer, got 0"},
		"-3":  {exitUsage, "--max-elements: expected a positive integer, got -3"},
		"all": {exitUsage, "--max-elements"},
		"2":   {exitFailed, "was run with 3 elements"},
	} {
		s.fails(tc.code, tc.want, "models", "push", "churn", "a.onnx", "--max-elements", given)
	}
	for _, tc := range []struct{ want, args string }{
		{"published churn@1\n", "--max-elements 30"},
		{"churn@1 is published already", "--max-elements 30"},
		{"churn@1 is published already", ""},
		{"it keeps the bounds that it was published with", "--max-elements 60 --version 1"},
		{"published churn@2\n", "--max-elements 60"},
	} {
		if out := s.must(append([]string{"models", "push", "churn", "a.onnx"}, strings.Fields(tc.args)...)...); !strings.Contains(out, tc.want) {
			t.Errorf("push %s says\n%swant %q", tc.args, out, tc.want)
		}
	}
	var shown struct {
		MaxElements int64 `json:"max_elements"`
	}
	if err := json.Unmarshal([]byte(s.must("models", "show", "churn@1", "-o", "json")), &shown); err != nil || shown.MaxElements != 30 {
		t.Errorf("show prints %+v, %v", shown, err)
	}
}

// TestPushBatches holds that the publisher's words on batches are kept, shown,
// and make another version.
func TestPushBatches(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Embed(5, 3))
	s.model("mean.onnx", onnxtest.ReduceTokens("ReduceMean", 4))
	for flags, want := range map[string]string{
		"--max-batch-size 0":    "--max-batch-size: expected 1 to 4096, got 0",
		"--max-batch-size 4097": "--max-batch-size: expected 1 to 4096, got 4097",
		"--max-batch-size some": "--max-batch-size",
		"--max-delay -1ms":      "--max-delay: expected whole microseconds up to 10s",
		"--max-delay 11s":       "--max-delay: expected whole microseconds up to 10s",
		"--max-delay 5ns":       "--max-delay: expected whole microseconds",
		"--max-delay 5":         "--max-delay",

		"--max-batch-size 1 --max-delay 5ms": "no request waits for another",

		"--batch-axis 1":                    "--batch-axis: expected 0, the only axis along which requests are joined, got 1",
		"--batch-axis rows":                 "--batch-axis",
		"--batch-axis 0 --max-batch-size 1": "nothing is joined with --max-batch-size 1",

		"--ragged ids":            "--ragged: expected INPUT=AXIS or INPUT=AXIS:PAD",
		"--ragged =1":             "--ragged: expected INPUT=AXIS",
		"--ragged ids=0":          "axis 0 is the batch's",
		"--ragged ids=one":        "--ragged: expected INPUT=AXIS",
		"--ragged ids=1:":         "a number to pad with",
		"--ragged ids=1:nothing":  "a number to pad with",
		"--ragged ids=1:0:0":      "a number to pad with",
		"--ragged ids=1 --max-ba": "unknown flag",
	} {
		s.fails(exitUsage, want, append([]string{"models", "push", "text", "a.onnx"}, strings.Fields(flags)...)...)
	}
	s.model("mixing.onnx", onnxtest.Mean(3))
	s.fails(exitFailed, "--batch-axis 0: rows are not independent", "models", "push", "mixing", "mixing.onnx", "--batch-axis", "0")
	s.model("kept.onnx", onnxtest.Keep(4, -1e30, "n"))
	if out := s.must("models", "push", "kept", "kept.onnx"); !strings.Contains(out, "no batch axis: ") || !strings.Contains(out, "Compress") || !strings.Contains(out, "--batch-axis 0") {
		t.Errorf("push says\n%s", out)
	}
	s.fails(exitFailed, `output "y" is off by`, "models", "push", "mean", "mean.onnx", "--ragged", "x=1")
	s.fails(exitFailed, `the model has no input "z"`, "models", "push", "text", "a.onnx", "--ragged", "z=1")
	s.fails(exitFailed, "NaN is no INT64", "models", "push", "text", "a.onnx", "--ragged", "ids=1:nan")

	for _, tc := range []struct{ want, args string }{
		{"published text@1\n", "--max-batch-size 16 --max-delay 2ms --ragged ids=1:1 --ragged mask=1"},
		{"text@1 is published already", "--max-batch-size 16 --max-delay 2ms --ragged mask=1:0 --ragged ids=1:1"},
		{"text@1 is published already", ""},
		{"it keeps the bounds that it was published with, and its batching", "--max-batch-size 1 --version 1"},
		{"published text@2\n", "--max-batch-size 1"},
	} {
		if out := s.must(append([]string{"models", "push", "text", "a.onnx"}, strings.Fields(tc.args)...)...); !strings.Contains(out, tc.want) {
			t.Errorf("push %s says\n%swant %q", tc.args, out, tc.want)
		}
	}
	out := s.must("models", "show", "text@1")
	for _, want := range []string{
		"along axis 0, at most 16 rows, waiting up to 2ms\n", ", axis 1 padded with 1\n", ", axis 1 padded with 0\n", "axis 1 follows ids\n", "\nROWS  ALONE", "loaded and warm",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("show prints\n%swant %q", out, want)
		}
	}
	if out := s.must("models", "show", "text"); !strings.Contains(out, "along axis 0, but one row at a time\n") {
		t.Errorf("show prints\n%s", out)
	}
	var shown struct {
		Batching model.Batching `json:"batching"`
		Cost     model.Cost     `json:"cost"`
	}
	if err := json.Unmarshal([]byte(s.must("models", "show", "text@1", "-o", "json")), &shown); err != nil ||
		shown.Batching != (model.Batching{MaxBatchSize: 16, MaxDelay: 2000}) || shown.Cost.Memory == 0 || len(shown.Cost.Batches) == 0 {
		t.Errorf("as JSON: %+v, %v", shown, err)
	}
	if out := s.must("models", "show", "text@1", "-o", "yaml"); !strings.Contains(out, "max_delay_us: 2000") || !strings.Contains(out, "alone_ns: ") {
		t.Errorf("as YAML:\n%s", out)
	}
}

// curve is a cost of 1, 2, 4 … rows, each with its time alone and busy.
func curve(times ...int64) []model.BatchCost {
	var batches []model.BatchCost
	for i, pair := range slices.Collect(slices.Chunk(times, 2)) {
		batches = append(batches, model.BatchCost{Size: 1 << i, Alone: pair[0], Busy: pair[1]})
	}
	return batches
}

func TestMeasuredText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cost *model.Cost
		want string
	}{
		"nothing":          {nil, ""},
		"no batches":       {&model.Cost{}, ""},
		"one size":         {&model.Cost{Batches: curve(1234567, 2e6)}, "a run takes 1.23 ms"},
		"batches that pay": {&model.Cost{Batches: curve(90e3, 100e3, 150e3, 170e3, 200e3, 220e3, 300e3, 364e3, 700e3, 800e3)}, "a run takes 90.0 µs, and batches of 8 answer 2.2 times as many rows a second as single ones"},
		"batches that do not": {
			&model.Cost{Batches: curve(2e9, 2e9, 39e8, 39e8)},
			"a run takes 2.00 s, and batches answer no more rows a second than single ones",
		},
	} {
		if got := measuredText(&model.Manifest{Cost: tc.cost}); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	for ns, want := range map[int64]string{7: "7 ns", 123_456: "123 µs", 56_700_000: "56.7 ms"} {
		if got := shortTime(ns); got != want {
			t.Errorf("%d is %q", ns, got)
		}
	}
}

func TestCostTable(t *testing.T) {
	t.Parallel()
	want := `ROWS  ALONE    BUSY     ROWS/S  GAIN
1     1.00 ms  1.10 ms  909     1.00x
2     1.20 ms  1.30 ms  1538    1.69x
4     3.90 ms  4.40 ms  909     1.00x
`
	got := costTable(curve(1e6, 11e5, 12e5, 13e5, 39e5, 44e5))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
