package infer_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// exact holds a number of a body to what strconv reads, bit by bit, as FP64 and
// as FP32; one that is out of range is refused by both.
func exact(t *testing.T, text string) {
	t.Helper()
	for datatype, bits := range map[string]int{"FP64": 64, "FP32": 32} {
		want, wrong := strconv.ParseFloat(text, bits)
		r, err := infer.DecodeRequest(fmt.Appendf(nil, `{"inputs":[{"name":"x","datatype":%q,"shape":[1],"data":[%s]}]}`, datatype, text), infer.NoHeader, infer.Limits{})
		if err != nil || wrong != nil {
			if (err == nil) != (wrong == nil) {
				t.Errorf("%s as %s: %v, and strconv returns %v", text, datatype, err, wrong)
			}
			continue
		}
		var got float64
		if bits == 64 {
			values, err := infer.Values[float64](&r.Inputs[0])
			if err != nil {
				t.Fatal(err)
			}
			got = values[0]
		} else {
			values, err := infer.Values[float32](&r.Inputs[0])
			if err != nil {
				t.Fatal(err)
			}
			got = float64(values[0])
		}
		if math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("%s as %s is %v, want %v", text, datatype, got, want)
		}
	}
}

func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	// Texts that round wrongly when read as float64 and cut to float32, or by
	// a careless fast path.
	for _, text := range []string{
		"0.1", "-0", "0", "1e-46", "1.4e-45", "1e-40", "3.4028235e38", "3.4028236e38", "1e39", "1e309", "16777217", "16777217.0000000000000000001",
		"1.00000005960464477540", "1.00000005960464477539", "9007199254740993", "0.3", "123456789012345678901234567890",
		"1e22", "1e23", "2.2250738585072011e-308", "5e-324", "1.7976931348623157e308", "-1.17549435e-38", "8388609.5", "0.5e1",
	} {
		exact(t, text)
	}
}

// TestNumbersAreStrconvs is a property: the fast path, which a decoded JSON tensor
// owes half its speed to, reads what strconv reads, on both sides of where it ends.
func TestNumbersAreStrconvs(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(14, 4))
	for range 20_000 {
		digits := random.Uint64() >> random.IntN(64)
		text := strconv.FormatUint(digits, 10)
		switch random.IntN(5) {
		case 0: // near where the digits are no longer exact
			text = strconv.FormatUint(1<<53-8+random.Uint64N(16), 10)
		case 1: // between two float32s
			single := math.Float32frombits(random.Uint32()&^(1<<30) | 1<<24)
			next := math.Nextafter32(single, math.MaxFloat32)
			text = strconv.FormatFloat((float64(single)+float64(next))/2, 'f', -1, 64)
		case 2:
			text += "e" + strconv.Itoa(random.IntN(80)-50)
		case 3, 4:
			text = fmt.Sprintf("%d.%0*d", random.IntN(1000), random.IntN(24)+1, digits)
		}
		if random.IntN(2) == 0 && text[0] != '-' {
			text = "-" + text
		}
		exact(t, text)
	}
}

// FuzzNumber looks for a number that is read otherwise than by strconv.
func FuzzNumber(f *testing.F) {
	for _, text := range []string{"0", "-0.0", "1e22", "0.1", "9007199254740993", "1.00000005960464477539", "0.0000000000000000000000001", "1E+5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.Trim(text, " \t\r\n") // JSON allows them about it
		if json.Valid([]byte(text)) && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') {
			exact(t, text)
		}
	})
}
