package infer_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestALongNumberIsRefusedBeforeItIsCopied holds that numbers of megabytes, wherever they
// may stand, take next to nothing beside the body.
func TestALongNumberIsRefusedBeforeItIsCopied(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	const mib = 1 << 20
	whole, fraction, exponent := "1"+strings.Repeat("0", 4*mib), "0."+strings.Repeat("1", 4*mib), "1e"+strings.Repeat("0", 4*mib)+"1"
	tensor := func(dataType, shape, data string) string {
		return `{"inputs":[{"name":"x","datatype":"` + dataType + `","shape":[` + shape + `],"data":[` + data + `]}]}`
	}
	for name, tc := range map[string]struct{ body, field string }{
		"a priority":             {`{"parameters":{"priority":` + whole + `}}`, "parameters.priority"},
		"a timeout":              {`{"parameters":{"timeout":` + exponent + `}}`, "parameters.timeout"},
		"a parameter":            {`{"parameters":{"a":` + whole + `}}`, "parameters.a"},
		"a fraction":             {`{"parameters":{"a":` + fraction + `}}`, "parameters.a"},
		"a size":                 {tensor("FP32", whole, ""), "inputs[0].shape[0]"},
		"what means nothing":     {`{"other":[` + whole + `]}`, "other[0]"},
		"an element, FP32":       {tensor("FP32", "1", whole), "inputs[0].data[0]"},
		"an element, a fraction": {tensor("FP64", "1", fraction), "inputs[0].data[0]"},
		"an element, exponent":   {tensor("FP16", "1", exponent), "inputs[0].data[0]"},
		"an element, INT64":      {tensor("INT64", "1", whole), "inputs[0].data[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(tc.body)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := infer.DecodeRequest(body, infer.NoHeader, infer.Limits{})
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > mib {
				t.Errorf("%d bytes are allocated", took)
			}
			if problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), tc.field) {
				t.Errorf("got %v, want a problem of %s", err, tc.field)
			}
		})
	}
}
