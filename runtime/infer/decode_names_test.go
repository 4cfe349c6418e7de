package infer_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// members are so many of an object.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%06d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// large are bodies that are small on the wire and were large in memory, by their
// names and texts.
func large() map[string]string {
	const n = 100_000
	long := strings.Repeat("x", n)
	return map[string]string{
		"parameters":                   `{"parameters":{` + members(n) + `},"inputs":[]}`,
		"what means nothing":           `{"other":{` + members(n) + `},"inputs":[]}`,
		"members of the body":          `{` + members(n) + `,"inputs":[]}`,
		"parameters of a tensor":       `{"inputs":[{"name":"x","parameters":{` + members(n) + `}}]}`,
		"an object for data":           `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":{` + members(n) + `}}]}`,
		"objects in data":              `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[{` + members(n) + `}]}]}`,
		"an object for an id":          `{"id":{` + members(n) + `},"inputs":[]}`,
		"a name":                       `{"` + long + `":1,"inputs":[]}`,
		"a name of what means nothing": `{"other":{"` + long + `":1},"inputs":[]}`,
	}
}

// TestNamesAreBounded holds that an object has at most 1,024 members, with names of at most
// 1,024 bytes, wherever it stands, and that no more is kept of one with more.
func TestNamesAreBounded(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	for name, body := range large() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := infer.DecodeRequest([]byte(body), infer.NoHeader, infer.Limits{})
			runtime.ReadMemStats(&after)
			if code := problem.CodeOf(err); code != problem.InvalidArgument {
				t.Errorf("got %v", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(2*len(body)) {
				t.Errorf("%d bytes took %d", len(body), took)
			}
		})
	}
	for name, body := range map[string]string{
		"parameters":              `{"parameters":{` + members(1024) + `},"inputs":[]}`,
		"what means nothing":      `{"other":[{` + members(1024) + `},{"a":{` + members(1024) + `},"b":1}],"inputs":[]}`,
		"a name":                  `{"` + strings.Repeat("x", 1024) + `":1,"inputs":[]}`,
		"of two objects the same": `{"other":[{"a":{"a":1}},{"a":1}],"inputs":[]}`,
	} {
		t.Run("as many as may be: "+name, func(t *testing.T) {
			if _, err := infer.DecodeRequest([]byte(body), infer.NoHeader, infer.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTwiceInAnyObject holds that a name which comes twice is found among few and many,
// however it is written, and named.
func TestTwiceInAnyObject(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, field string }{
		"few":             {`{"other":{"a":1,"b":2,"a":3}}`, "other.a"},
		"many":            {`{"other":{` + members(500) + `,"m000499":1}}`, "other.m000499"},
		"many, the first": {`{"parameters":{` + members(500) + `,"m000000":1}}`, "parameters.m000000"},
		"with an escape":  {`{"other":{"a":1,"\u0061":2}}`, "other.a"},
		"of the inner":    {`{"other":[1,{"a":{"b":1,"c":[],"b":2}}]}`, "other[1].a.b"},
		"after an inner":  {`{"other":{"a":{"b":{}},"b":1,"a":2}}`, "other.a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := infer.DecodeRequest([]byte(tc.body), infer.NoHeader, infer.Limits{})
			var p *problem.Error
			if !errors.As(err, &p) || p.Code != problem.MalformedBody || len(p.Fields) != 1 || p.Fields[0].Field != tc.field {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTextsAreCharged holds that what is kept of a body's texts, and of the names that
// its objects have, is charged first.
func TestTextsAreCharged(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, tc := range map[string]struct {
		body        string
		least, most int64
	}{
		"an id":                {`{"id":"` + long + `","inputs":[]}`, 100_000, 105_000},
		"an id with an escape": {`{"id":"\n` + long + `","inputs":[]}`, 100_000, 105_000},
		"a parameter":          {`{"parameters":{"a":"` + long + `"},"inputs":[]}`, 100_000, 105_000},
		"a number":             {`{"parameters":{"a":1` + strings.Repeat("0", 200) + `},"inputs":[]}`, 200, 5000},
		"parameters":           {`{"parameters":{` + members(1000) + `},"inputs":[]}`, 1000 * 96, 1000 * 250},
		"what means nothing":   {`{"other":[` + strings.TrimSuffix(strings.Repeat(`{`+members(1000)+`},`, 50), ",") + `],"inputs":[]}`, 1000 * 96, 1000 * 100},
		"data before its type": {`{"inputs":[{"data":["` + long + `"],"name":"x","datatype":"BYTES","shape":[1]}]}`, 200_000, 205_000},
		"little":               {`{"id":"7","parameters":{"priority":1},"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var charged int64
			_, err := infer.DecodeRequest([]byte(tc.body), infer.NoHeader, infer.Limits{Reserve: func(n int64) error {
				charged += n
				return nil
			}})
			if err != nil || charged < tc.least || charged > tc.most {
				t.Errorf("%d bytes are charged, %v; want %d to %d", charged, err, tc.least, tc.most)
			}
		})
	}
}
