package publish

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestHostileRows holds that requests are not joined where what one caller
// sends changes what another gets, though usual rows do not show it.
func TestHostileRows(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model onnxtest.Model
		why   string // "" has a batch axis
	}{
		"dynamic quantization":              {onnxtest.DynamicQuantize(onnxtest.Float, 3), "a row of large values changes the others' answers"},
		"dynamic quantization of bytes":     {onnxtest.DynamicQuantize(onnxtest.Uint8, 3), "a row of other values changes the others' answers"},
		"a scale that is computed":          {onnxtest.ScaledQuantize(3), "a row of large values changes the others' answers"},
		"the largest of all rows":           {onnxtest.Beyond("ReduceMax", 3, 5), "a row of large values changes the others' answers"},
		"the least of all rows":             {onnxtest.Beyond("ReduceMin", 3, -5), "a row of large negative values changes the others' answers"},
		"the first row":                     {onnxtest.BeyondOf(0, 3, 5), "a row of large values changes the others' answers"},
		"the last row":                      {onnxtest.BeyondOf(-1, 3, 5), "a row of large values changes the others' answers"},
		"zero times all rows":               {onnxtest.Poisoned(3), "a row of NaN and infinities changes the others' answers"},
		"the first row's text":              {onnxtest.AddFirst(onnxtest.String, 3), "a row of other values changes the others' answers"},
		"the first row's bytes":             {onnxtest.AddFirst(onnxtest.Uint8, 3), "a row of other values changes the others' answers"},
		"a multiplication":                  {onnxtest.MLP(1, 3, 5, 2), ""},
		"flags":                             {onnxtest.Identity(onnxtest.Bool, "n", 3), ""},
		"half floats":                       {onnxtest.Identity(onnxtest.Float16, "n", 3), ""},
		"bfloat16":                          {onnxtest.Identity(onnxtest.BFloat16, "n", 3), ""},
		"doubles":                           {onnxtest.Identity(onnxtest.Double, "n", 3), ""},
		"text":                              {onnxtest.Identity(onnxtest.String, "n", 3), ""},
		"indices that it refuses":           {onnxtest.Lookup(4, 3), ""},
		"a mask of which other values grow": {onnxtest.Embed(200, 2), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, tc.model.Write(t))
			sig, err := findExamples(t.Context(), s, *s.Signature(), nil)
			if err != nil {
				t.Fatal(err)
			}
			found, why, err := findBatchAxis(t.Context(), s, sig)
			if err != nil || (found.BatchAxis != nil) != (tc.why == "") || !strings.Contains(why, tc.why) || tc.why == "" && why != "" {
				t.Errorf("batch axis %v because %q: %v", found.BatchAxis, why, err)
			}
		})
	}
}

// moody gives the rows back, and does something else where they are large.
type moody struct {
	large func(ctx context.Context) error
}

func (m *moody) Run(ctx context.Context, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	for _, v := range floats(&inputs[0]) {
		if v >= 1000 {
			if err := m.large(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
	y := inputs[0]
	y.Name = "y"
	return []infer.Tensor{y}, func() {}, nil
}

// TestHostileRowsThatAreNotAnswered holds that a refusal says nothing, and that
// a row which keeps the model from answering does.
func TestHostileRowsThatAreNotAnswered(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, tc := range map[string]struct {
		large func(context.Context) error
		why   string
	}{
		"refused": {func(context.Context) error { return &ort.Error{Message: "too large"} }, ""},
		"endless": {hang, "beside a row of large values it does not answer within 1m0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			sig := *rowsSignature(4)
			sig.BatchAxis = nil
			found, why, err := findBatchAxis(t.Context(), &moody{tc.large}, sig)
			if err != nil || why != tc.why || (found.BatchAxis != nil) != (tc.why == "") {
				t.Errorf("%s: batch axis %v because %q: %v", name, found.BatchAxis, why, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	leave := func(context.Context) error { cancel(); return ctx.Err() }
	sig := *rowsSignature(4)
	if found, why, err := findBatchAxis(ctx, &moody{leave}, sig); err == nil {
		t.Errorf("cancelled: batch axis %v because %q", found.BatchAxis, why)
	}
}
