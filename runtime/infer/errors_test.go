package infer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// TestErrorsShowWholeValues holds that an error repeats a value whole, or names
// its kind: a part of one reads as if the body were broken.
func TestErrorsShowWholeValues(t *testing.T) {
	t.Parallel()
	typed := func(dataType, data string) string {
		return `{"inputs":[{"name":"x","datatype":"` + dataType + `","shape":[1],"data":` + data + `}]}`
	}
	for name, tc := range map[string]struct{ body, want string }{
		"the body an array":      {`[{"a":1}]`, `body: expected an object; got an array`},
		"an object for a name":   {`{"inputs":[{"name":{"a":"b","c":1}}]}`, `inputs[0].name: expected a string; got an object`},
		"an object for data":     {typed("FP32", `{"a":"b"}`), `inputs[0].data: expected an array; got an object`},
		"an object as a number":  {typed("FP32", `[{"a": 1}]`), `inputs[0].data[0]: expected a number for FP32; got an object`},
		"an object as integer":   {typed("INT8", `[{"a": 1}]`), `inputs[0].data[0]: expected a number for INT8; got an object`},
		"an object as boolean":   {typed("BOOL", `[{"a": 1}]`), `inputs[0].data[0]: expected true or false for BOOL; got an object`},
		"an object as string":    {typed("BYTES", `[{"a": 1}]`), `inputs[0].data[0]: expected a string for BYTES; got an object`},
		"a string with quotes":   {typed("INT8", `["a\\\"b, c]"]`), `inputs[0].data[0]: expected a number for INT8; got "a\\\"b, c]"`},
		"a string of no number":  {typed("FP32", `["nan" , 1]`), `inputs[0].data[0]: expected a number, or one of the strings "NaN", "Infinity" and "-Infinity" for FP32; got "nan"`},
		"a number before spaces": {typed("INT8", "[1.5 \n]"), `inputs[0].data[0]: expected an integer for INT8; got 1.5`},
		"a long string":          {`{"id":"1","outputs":"` + strings.Repeat("é", 60) + `"}`, `outputs: expected an array; got "` + strings.Repeat("é", 20) + `…"`},
		"escapes at the cut":     {`{"id":"1","outputs":"` + strings.Repeat(`\u00e9`, 60) + `"}`, `outputs: expected an array; got "` + strings.Repeat("é", 20) + `…"`},
		"a long number":          {`{"id":` + strings.Repeat("1", 100) + `}`, `id: expected a string; got a number of 100 characters`},
		"out of range":           {`{"parameters":{"a":1` + strings.Repeat("0", 400) + `}}`, `parameters.a: a number of 401 characters is out of range`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := infer.DecodeRequest([]byte(tc.body), infer.NoHeader, infer.Limits{})
			if err == nil || err.Error() != tc.want {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestIntegersAreByValue holds that an integer is one however it is written, as
// JSON Schema has it, and that its bounds are an int64's.
func TestIntegersAreByValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1": 1, "1.0": 1, "1.000": 1, "1e0": 1, "10e-1": 1, "0.1e1": 1, "-0": 0, "-0.0": 0, "0e5": 0, "12.5e1": 125,
		"9223372036854775807": 1<<63 - 1, "9223372036854775807.0": 1<<63 - 1, "9.223372036854775807e18": 1<<63 - 1,
		"1.5": -1, "-1": -1, "1e-1": -1, "9223372036854775808": -1, "18446744073709551616": -1, "1e19": -1, "1e300": -1, "1e999999999": -1, "1e-999999999": -1,
		"0." + strings.Repeat("0", 200): -1, // beyond what is read of one
	} {
		got, err := infer.DecodeRequest([]byte(`{"parameters":{"priority":`+text+`}}`), infer.NoHeader, infer.Limits{})
		if (err == nil) != (want >= 0) || err == nil && got.Priority != uint64(want) {
			t.Errorf("%s: %v, %v, want %d", text, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "an integer from 0 to 9223372036854775807") && !strings.Contains(err.Error(), "out of range") {
			t.Errorf("%s: %v", text, err)
		}
	}
	got, err := infer.DecodeRequest([]byte(`{"inputs":[{"name":"x","datatype":"UINT8","shape":[1.0, 2e0],"data":[1,2]}],"parameters":{"timeout":2.0,"far":9223372036854775808}}`), infer.NoHeader, infer.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{1, 2}, got.Inputs[0].Shape); diff != "" || got.Timeout != 2*time.Microsecond || got.Parameters["far"] != float64(1<<63) {
		t.Errorf("%s %+v", diff, got)
	}
}
