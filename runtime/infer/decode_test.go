package infer_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestDecodeRequest(t *testing.T) {
	t.Parallel()
	yes := true
	for name, tc := range map[string]struct {
		body   string
		header int
		want   infer.Request
	}{
		"flat": {
			body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[1,-2.5,3e2,0.1]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{2, 2}, []float32{1, -2.5, 300, 0.1})}},
		},
		"nested": {
			body: `{"inputs":[{"name":"x","datatype":"INT64","shape":[2,2],"data":[[1, 2],[3,-9223372036854775808]]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{2, 2}, []int64{1, 2, 3, math.MinInt64})}},
		},
		"data before its type": {
			body: `{"inputs":[{"data":[[255],[0]],"shape":[2,1],"datatype":"UINT8","name":"x"}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{2, 1}, []uint8{255, 0})}},
		},
		"scalar": {
			body: `{"inputs":[{"name":"sr","datatype":"INT64","shape":[],"data":[16000]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("sr", []int64{}, []int64{16000})}},
		},
		"empty axis": {
			body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[2,0,3],"data":[[],[]]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{{Name: "x", DataType: infer.FP32, Shape: []int64{2, 0, 3}, Data: []byte{}}}},
		},
		"halves, not finite": {
			body: `{"inputs":[{"name":"h","datatype":"FP16","shape":[4],"data":[1,"NaN","-Infinity",65504]},` +
				`{"name":"b","datatype":"BF16","shape":[2],"data":[1.5,"Infinity"]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{
				{Name: "h", DataType: infer.FP16, Shape: []int64{4}, Data: []byte{0, 0x3c, 0, 0x7e, 0, 0xfc, 0xff, 0x7b}},
				{Name: "b", DataType: infer.BF16, Shape: []int64{2}, Data: []byte{0xc0, 0x3f, 0x80, 0x7f}},
			}},
		},
		"strings and booleans": {
			body: `{"inputs":[{"name":"s","datatype":"BYTES","shape":[3],"data":["a,]\"\\","é\u00e9",""]},` +
				`{"name":"b","datatype":"BOOL","shape":[2],"data":[true,false]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{
				infer.NewBytes("s", []int64{3}, `a,]"\`, "éé", ""),
				infer.NewTensor("b", []int64{2}, []bool{true, false}),
			}},
		},
		"binary and JSON mixed": {
			body: `{"inputs":[{"name":"a","datatype":"UINT8","shape":[3],"parameters":{"binary_data_size":3}},` +
				`{"name":"j","datatype":"INT32","shape":[1],"data":[7]},` +
				`{"name":"b","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}}]}` + "\x01\x02\x03\x04\x00\x05\x00",
			header: -7,
			want: infer.Request{Inputs: []infer.Tensor{
				infer.NewTensor("a", []int64{3}, []uint8{1, 2, 3}),
				infer.NewTensor("j", []int64{1}, []int32{7}),
				infer.NewTensor("b", []int64{2}, []int16{4, 5}),
			}},
		},
		"nulls where nothing need be": {
			body: `{"id":null,"parameters":null,"outputs":null,"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"parameters":null,"data":[7]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1}, []uint8{7})}},
		},
		"nulls within": {
			body: `{"parameters":{"timeout":null,"a":null},"outputs":[{"name":"y","parameters":null},{"name":"z","parameters":{"binary_data":null,"classification":null}}],` +
				`"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":null},"data":[7]}]}`,
			want: infer.Request{
				Inputs:  []infer.Tensor{infer.NewTensor("x", []int64{1}, []uint8{7})},
				Outputs: []infer.RequestedOutput{{Name: "y"}, {Name: "z"}},
			},
		},
		"no data beside binary data": {
			body:   `{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1},"data":null}]}` + "\x07",
			header: -1,
			want:   infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1}, []uint8{7})}},
		},
		"a byte order mark": {
			body: "\ufeff" + `{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[7]}]}`,
			want: infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1}, []uint8{7})}},
		},
		"a mark before binary data": {
			body:   "\ufeff" + `{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1}}]}` + "\x07",
			header: -1,
			want:   infer.Request{Inputs: []infer.Tensor{infer.NewTensor("x", []int64{1}, []uint8{7})}},
		},
		"everything beside the inputs": {
			body: `{"id":"42","parameters":{"timeout":1500,"priority":2,"binary_data_output":true,"a":1,"b":1.5,"c":"x","d":false},` +
				`"model_name":{"unknown":[{"members":1}]},"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":true}},{"name":"z"}]}`,
			want: infer.Request{
				ID: "42", Timeout: 1500 * time.Microsecond, Priority: 2, BinaryOutput: true,
				Outputs:    []infer.RequestedOutput{{Name: "y", Binary: &yes}, {Name: "z"}},
				Parameters: infer.Parameters{"a": int64(1), "b": 1.5, "c": "x", "d": false},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := infer.NoHeader
			if tc.header < 0 {
				header = len(tc.body) + tc.header
			}
			got, err := infer.DecodeRequest([]byte(tc.body), header, infer.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("want, got:\n%s", diff)
			}
		})
	}
}

func TestDecodeRequestRefuses(t *testing.T) {
	t.Parallel()
	fp32 := func(data string) string {
		return `{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":` + data + `}]}`
	}
	typed := func(dataType, data string) string {
		return `{"inputs":[{"name":"x","datatype":"` + dataType + `","shape":[1],"data":` + data + `}]}`
	}
	for name, tc := range map[string]struct {
		body   string
		header int
		field  string
		code   problem.Code
	}{
		"empty":               {body: ``, code: problem.MalformedBody},
		"not an object":       {body: `[]`, field: "body"},
		"cut short":           {body: `{"inputs":[`, code: problem.MalformedBody, field: "inputs"},
		"something behind":    {body: `{"inputs":[]} {}`, code: problem.MalformedBody},
		"garbage behind":      {body: `{"inputs":[]}x`, code: problem.MalformedBody, field: "body"},
		"invalid UTF-8":       {body: "{\"id\":\"\xff\"}", code: problem.MalformedBody, field: "id"},
		"invalid UTF-8, data": {body: typed("BYTES", "[\"\xff\"]"), code: problem.MalformedBody, field: "inputs[0].data[0]"},
		"lone surrogate":      {body: typed("BYTES", `["\ud800"]`), code: problem.MalformedBody, field: "inputs[0].data[0]"},
		"duplicate key":       {body: `{"inputs":[],"inputs":[]}`, code: problem.MalformedBody, field: "inputs"},
		"duplicate, inner":    {body: `{"inputs":[{"name":"a","name":"b"}]}`, code: problem.MalformedBody, field: "inputs[0].name"},
		"duplicate, unknown":  {body: `{"extra":{"a":1,"a":2}}`, code: problem.MalformedBody, field: "extra.a"},
		"bare NaN":            {body: fp32(`[1,NaN]`), code: problem.MalformedBody, field: "inputs[0].data[1]"},
		"beyond FP64":         {body: fp32(`[1,1e999]`), field: "inputs[0].data[1]"},
		"beyond, unknown":     {body: `{"extra":[1e999]}`, field: "extra[0]"},
		"beyond, parameter":   {body: `{"parameters":{"a":1e999}}`, field: "parameters.a"},
		"beyond FP32":         {body: fp32(`[1e39,1]`), field: "inputs[0].data[0]"},
		"beyond FP16":         {body: typed("FP16", `[65520]`), field: "inputs[0].data[0]"},
		"beyond BF16":         {body: typed("BF16", `[3.4e38]`), field: "inputs[0].data[0]"},
		"beyond UINT8":        {body: typed("UINT8", `[256]`), field: "inputs[0].data[0]"},
		"negative unsigned":   {body: typed("UINT64", `[-1]`), field: "inputs[0].data[0]"},
		"beyond INT8":         {body: typed("INT8", `[-129]`), field: "inputs[0].data[0]"},
		"beyond UINT64":       {body: typed("UINT64", `[18446744073709551616]`), field: "inputs[0].data[0]"},
		"far beyond UINT64":   {body: typed("UINT64", `[99999999999999999999999]`), field: "inputs[0].data[0]"},
		"fraction":            {body: typed("INT32", `[1.5]`), field: "inputs[0].data[0]"},
		"exponent":            {body: typed("INT32", `[1e2]`), field: "inputs[0].data[0]"},
		"other string":        {body: fp32(`[1,"nan"]`), field: "inputs[0].data[1]"},
		"null inputs":         {body: `{"inputs":null}`, field: "inputs"},
		"null name":           {body: `{"inputs":[{"name":null,"datatype":"FP32","shape":[0],"data":[]}]}`, field: "inputs[0].name"},
		"null data":           {body: fp32(`null`), field: "inputs[0].data"},
		"no null":             {body: `{"id":nul}`, code: problem.MalformedBody, field: "id"},
		"two marks":           {body: "\ufeff\ufeff{}", code: problem.MalformedBody},
		"null":                {body: fp32(`[null,1]`), field: "inputs[0].data[0]"},
		"an object":           {body: fp32(`[{},1]`), field: "inputs[0].data[0]"},
		"boolean for number":  {body: fp32(`[true,1]`), field: "inputs[0].data[0]"},
		"number for boolean":  {body: typed("BOOL", `[1]`), field: "inputs[0].data[0]"},
		"number for string":   {body: typed("BYTES", `[1]`), field: "inputs[0].data[0]"},
		"data is no array":    {body: fp32(`1`), field: "inputs[0].data"},
		"too few":             {body: fp32(`[1]`), field: "inputs[0].data"},
		"too many":            {body: fp32(`[1,2,3]`), field: "inputs[0].data"},
		"nested wrongly":      {body: fp32(`[[1],[2]]`), field: "inputs[0].data"},
		"nested too little":   {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,1],"data":[[1,2]]}]}`, field: "inputs[0].data"},
		"ragged lengths":      {body: fp32(`[[1,2],[3]]`), field: "inputs[0].data[1]"},
		"ragged depths":       {body: fp32(`[1,[2]]`), field: "inputs[0].data[1]"},
		"ragged, rising":      {body: fp32(`[[1],2]`), field: "inputs[0].data[1]"},
		"ragged, empty first": {body: fp32(`[[],[1],2]`), field: "inputs[0].data[1]"},
		"too deep, data":      {body: fp32(strings.Repeat("[", 62) + strings.Repeat("]", 62)), field: "inputs[0].data"},
		"too deep, unknown":   {body: `{"extra":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`},
		"far too deep":        {body: `{"extra":` + strings.Repeat("[", 1e6)},
		"far too deep, data":  {body: fp32(strings.Repeat("[", 1e6)), code: problem.MalformedBody},
		"no name":             {body: `{"inputs":[{"datatype":"FP32","shape":[0],"data":[]}]}`, field: "inputs[0].name"},
		"no type":             {body: `{"inputs":[{"name":"x","shape":[0],"data":[]}]}`, field: "inputs[0].datatype"},
		"no shape":            {body: `{"inputs":[{"name":"x","datatype":"FP32","data":[]}]}`, field: "inputs[0].shape"},
		"no data":             {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[0]}]}`, field: "inputs[0].data"},
		"unknown type":        {body: typed("FLOAT", `[1]`), field: "inputs[0].datatype"},
		"negative size":       {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[]}]}`, field: "inputs[0].shape[0]"},
		"size with fraction":  {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1.5],"data":[]}]}`, field: "inputs[0].shape[0]"},
		"shape overflows":     {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[4294967296,4294967296],"data":[]}]}`, field: "inputs[0].shape"},
		"shape is a string":   {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":"1","data":[]}]}`, field: "inputs[0].shape"},
		"name is a number":    {body: `{"inputs":[{"name":1}]}`, field: "inputs[0].name"},
		"inputs an object":    {body: `{"inputs":{}}`, field: "inputs"},
		"negative timeout":    {body: `{"parameters":{"timeout":-1}}`, field: "parameters.timeout"},
		"text timeout":        {body: `{"parameters":{"timeout":"1"}}`, field: "parameters.timeout"},
		"parameter an array":  {body: `{"parameters":{"a":[]}}`, field: "parameters.a"},
		"shared memory":       {body: `{"inputs":[{"parameters":{"shared_memory_region":"r"}}]}`, field: "inputs[0].parameters.shared_memory_region", code: problem.Unimplemented},
		"classification":      {body: `{"outputs":[{"name":"y","parameters":{"classification":3}}]}`, field: "outputs[0].parameters.classification", code: problem.Unimplemented},
		"output without name": {body: `{"outputs":[{}]}`, field: "outputs[0].name"},
		"limit":               {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[9],"data":[1,2,3,4,5,6,7,8,9]}]}`, field: "inputs[0].data", code: problem.PayloadTooLarge},
		"binary, no header":   {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`, field: "inputs[0].parameters.binary_data_size"},
		"binary and data":     {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[0],"data":[],"parameters":{"binary_data_size":0}}]}`, field: "inputs[0].data"},
		"header too long":     {body: `{}`, header: 3, code: problem.MalformedBody},
		"binary short":        {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}123`, header: -3, field: "inputs[0].parameters.binary_data_size"},
		"binary long":         {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}12345`, header: -5, code: problem.MalformedBody},
		"binary not whole":    {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":3}}]}123`, header: -3, field: "inputs[0].parameters.binary_data_size"},
		"binary, other shape": {body: `{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":4}}]}1234`, header: -4, field: "inputs[0].parameters.binary_data_size"},
		"huge binary size":    {body: `{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":9223372036854775807}}]}1`, header: -1, field: "inputs[0].parameters.binary_data_size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := infer.NoHeader
			if tc.header > 0 {
				header = tc.header
			} else if tc.header < 0 {
				header = len(tc.body) + tc.header
			}
			_, err := infer.DecodeRequest([]byte(tc.body), header, infer.Limits{Elements: 8})
			if err == nil {
				t.Fatal("was let through")
			}
			var p *problem.Error
			if !errors.As(err, &p) {
				t.Fatalf("a %T, not a problem: %v", err, err)
			}
			if tc.code == "" {
				tc.code = problem.InvalidArgument
			}
			if name == "far too deep" || name == "far too deep, data" {
				tc.code = p.Code // the tokenizer has a bound of its own, either may be first
			}
			if p.Code != tc.code {
				t.Errorf("code %s, want %s: %v", p.Code, tc.code, p)
			}
			if tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
				t.Errorf("fields %+v, want %s", p.Fields, tc.field)
			}
			if len(p.Detail) > 500 {
				t.Errorf("a detail of %d bytes", len(p.Detail))
			}
		})
	}
}

func TestDecodeRequestReserves(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	body := []byte(`{"inputs":[{"name":"x","datatype":"FP64","shape":[3],"data":[1,2,3]}]}`)
	var asked int64
	_, err := infer.DecodeRequest(body, infer.NoHeader, infer.Limits{Reserve: func(n int64) error {
		asked += n
		return full
	}})
	if !errors.Is(err, full) || asked != 24 {
		t.Errorf("asked for %d bytes, error %v", asked, err)
	}
}

func TestFloat16(t *testing.T) {
	t.Parallel()
	for bits := range 1 << 16 {
		h := uint16(bits)
		wide := infer.FromFloat16(h)
		if back := infer.Float16(float64(wide)); back != h && !math.IsNaN(float64(wide)) {
			t.Fatalf("FP16 %#04x is %v is %#04x", h, wide, back)
		}
		wide = infer.FromBFloat16(h)
		if back := infer.BFloat16(float64(wide)); back != h && !math.IsNaN(float64(wide)) {
			t.Fatalf("BF16 %#04x is %v is %#04x", h, wide, back)
		}
		// The middle between two neighbours goes to the even one.
		if h&0x7fff < 0x7bff {
			middle := (float64(infer.FromFloat16(h)) + float64(infer.FromFloat16(h+1))) / 2
			if got := infer.Float16(middle); got != h+h&1 {
				t.Fatalf("the middle above FP16 %#04x goes to %#04x", h, got)
			}
		}
		if h&0x7fff < 0x7f7f {
			middle := (float64(infer.FromBFloat16(h)) + float64(infer.FromBFloat16(h+1))) / 2
			if got := infer.BFloat16(middle); got != h+h&1 {
				t.Fatalf("the middle above BF16 %#04x goes to %#04x", h, got)
			}
			if got := infer.BFloat16(math.Nextafter(middle, math.Inf(1))); middle > 1 && got != h+1 {
				t.Fatalf("just over the middle above BF16 %#04x goes to %#04x", h, got)
			}
		}
	}
}
