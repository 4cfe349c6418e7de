package infer

import (
	"math"
	"testing"
)

func TestAppendNumber(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		d    DataType
		v    float64
		want bool
	}{
		"a bool":                   {Bool, 1, true},
		"no bool":                  {Bool, 2, false},
		"a byte":                   {Uint8, 255, true},
		"too much for a byte":      {Uint8, 256, false},
		"a negative byte":          {Int8, -128, true},
		"below it":                 {Int8, -129, false},
		"negative and unsigned":    {Uint32, -1, false},
		"a fraction":               {Int64, 0.5, false},
		"the largest of 64 bits":   {Uint64, math.Nextafter(0x1p64, 0), true},
		"beyond 64 bits":           {Uint64, 0x1p64, false},
		"the least of 64 bits":     {Int64, -0x1p63, true},
		"the largest signed":       {Int64, math.Nextafter(0x1p63, 0), true},
		"beyond the signed":        {Int64, 0x1p63, false},
		"a half":                   {FP16, -65504, true},
		"too much for a half":      {FP16, 65520, false},
		"a bfloat":                 {BF16, 1e38, true},
		"too much for a bfloat":    {BF16, 3.4e38, false},
		"a float":                  {FP32, -1e4, true},
		"too much for a float":     {FP32, 1e39, false},
		"a double":                 {FP64, 1e308, true},
		"infinite":                 {FP64, math.Inf(-1), false},
		"no number":                {FP32, math.NaN(), false},
		"a string":                 {Bytes, 0, false},
		"an unknown type":          {"LONG", 0, false},
		"minus one in an int":      {Int32, -1, true},
		"a whole number in a half": {FP16, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, ok := AppendNumber([]byte{9}, tc.d, tc.v)
			if ok != tc.want || b[0] != 9 {
				t.Fatalf("%v of %s: %v, %v", tc.v, tc.d, b, ok)
			}
			if !ok {
				if len(b) != 1 {
					t.Errorf("%v was refused and appended", b)
				}
				return
			}
			if len(b) != 1+tc.d.Size() {
				t.Fatalf("%d bytes", len(b)-1)
			}
			if got := Number(tc.d, b[1:]); math.Abs(got-tc.v) > math.Abs(tc.v)/100 {
				t.Errorf("%v became %v", tc.v, got)
			}
		})
	}
}
