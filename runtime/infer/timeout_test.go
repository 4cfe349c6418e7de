package infer_test

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestTimeoutOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       time.Duration
	}{
		{"first", `{"parameters": {"timeout": 1500}, "inputs": []}`, 1500 * time.Microsecond},
		{"last, behind others", `{"inputs": [{"parameters": {"timeout": 7}}], "parameters": {"a": {"timeout": 8}, "timeout": 9}}`, 9 * time.Microsecond},
		{"behind much", `{"inputs": [{"data": [` + strings.Repeat("1.5, ", 1<<20) + `1]}], "parameters": {"timeout": 9}}`, 9 * time.Microsecond},
		{"behind a long text", `{"id": "` + strings.Repeat(`\"}, `, 1<<18) + `", "parameters": {"timeout": 9}}`, 9 * time.Microsecond},
		{"behind a long name", `{"` + strings.Repeat(`n`, 1<<18) + `": 1, "parameters": {"timeout": 9}}`, 9 * time.Microsecond},
		{"of a text that ends behind it", `{"parameters": {"timeout": 1500}, "inputs": [1,`, 1500 * time.Microsecond},
		{"behind a mark", "\ufeff" + `{"parameters":{"timeout":5}}`, 5 * time.Microsecond},
		{"in escapes", `{"p\u0061rameters": {"\u0074imeout": 5}}`, 5 * time.Microsecond},
		{"in many lines", "\n{\t\"parameters\"\r\n:\n{ \"timeout\"\t:\n5\n}\n}\n", 5 * time.Microsecond},
		{"with a point", `{"parameters": {"timeout": 300.0}}`, 300 * time.Microsecond},
		{"with an exponent", `{"parameters": {"timeout": 3e5}}`, 300 * time.Millisecond},
		{"with both", `{"parameters": {"timeout": 3.0E+5}}`, 300 * time.Millisecond},
		{"beyond any, with an exponent", `{"parameters": {"timeout": 1e300}}`, 0},
		{"none", `{"inputs": []}`, 0},
		{"nothing in it", `{}`, 0},
		{"of an input alone", `{"inputs": [{"parameters": {"timeout": 7}}]}`, 0},
		{"at another place", `{"timeout": 7}`, 0},
		{"no parameters", `{"parameters": null, "inputs": []}`, 0},
		{"no number", `{"parameters": {"timeout": "7"}}`, 0},
		{"no integer", `{"parameters": {"timeout": 7.5}}`, 0},
		{"cut off", `{"parameters": {"timeout": 1`, 0},
		{"cut off behind it", `{"parameters": {"timeout": 1, `, 0},
		{"negative", `{"parameters": {"timeout": -7}}`, 0},
		{"beyond any", `{"parameters": {"timeout": 9223372036854775807}}`, math.MaxInt64 / 1000 * 1000},
		{"beyond numbers", `{"parameters": {"timeout": ` + strings.Repeat("9", 1<<16) + `}}`, 0},
		{"no JSON", `"timeout"`, 0},
		{"a zero byte", "{\"parameters\": \x00{\"timeout\": 5}}", 0},
		{"nothing", ``, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for name, r := range map[string]io.Reader{
				"at once": strings.NewReader(tc.text), "in pieces": iotest.HalfReader(strings.NewReader(tc.text)),
				"its end with its last bytes": iotest.DataErrReader(strings.NewReader(tc.text)),
				"broken behind it":            io.MultiReader(strings.NewReader(tc.text), iotest.ErrReader(errors.New("broken"))),
			} {
				if got := infer.TimeoutOf(r); got != tc.want {
					t.Errorf("%s: %v, want %v", name, got, tc.want)
				}
			}
		})
	}
}

// TestTimeoutOfReadsNoFurtherThanTheParameters holds that nothing behind a request's
// parameters is waited for.
func TestTimeoutOfReadsNoFurtherThanTheParameters(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, `{"parameters": {"timeout": 5}, "inputs": [`) }()
	if got := infer.TimeoutOf(r); got != 5*time.Microsecond {
		t.Errorf("%v", got)
	}
}
