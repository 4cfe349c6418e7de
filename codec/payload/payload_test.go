package payload_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

type form struct {
	Image        payload.Source              `json:"image"`
	Polygons     payload.List[[4][2]float64] `json:"polygons"`
	Orientations payload.List[int]           `json:"orientations"`
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body, field, detail string
		code                problem.Code
	}{
		"empty":              {"", "", "empty", problem.MalformedBody},
		"not JSON":           {"hello", "", "byte 0", problem.MalformedBody},
		"cut off":            {`{"image": "aGk`, "", "byte", problem.MalformedBody},
		"an array":           {`[]`, "", "expected an object", problem.MalformedBody},
		"null":               {`null`, "image", "missing", problem.InvalidArgument},
		"trailing data":      {`{"image":"aGk="} {}`, "", "after top-level value", problem.MalformedBody},
		"NaN":                {`{"image":"aGk=","polygons":[[[NaN,0]]]}`, "polygons[0][0][0]", "polygons[0][0]", problem.MalformedBody},
		"overflow":           {`{"image":"aGk=","polygons":[[[1e999,0],[0,0],[0,0],[0,0]]]}`, "polygons[0][0][0]", "1e999", problem.InvalidArgument},
		"duplicate":          {`{"image":"aGk=","image":"aGk="}`, "image", "twice", problem.InvalidArgument},
		"duplicate inside":   {`{"image":{"ref":"s3://b/k","ref":"s3://b/l"}}`, "image.ref", "twice", problem.InvalidArgument},
		"unknown":            {`{"image":"aGk=","imgae":1}`, "imgae", "no such field", problem.InvalidArgument},
		"unknown inside":     {`{"image":{"ref":"s3://b/k","key":1}}`, "image.key", "no such field", problem.InvalidArgument},
		"deep":               {strings.Repeat(`{"image":`, 65), "", "deeper than 64", problem.MalformedBody},
		"deep behind quotes": {`{"a\\\\":"\"\\\"",` + strings.Repeat(`"image":[`, 64), "", "deeper than 64", problem.MalformedBody},
		"a long number":      {`{"image":"aGk=","polygons":[[[` + strings.Repeat("1", 3000) + `,0]]]}`, "", "more than 2048 characters", problem.MalformedBody},
		"missing":            {`{"polygons":[]}`, "image", "missing", problem.InvalidArgument},
		"a number":           {`{"image":1}`, "image", "base64", problem.InvalidArgument},
		"null source":        {`{"image":null}`, "image", "base64", problem.InvalidArgument},
		"not s3":             {`{"image":{"ref":"http://b/k"}}`, "image.ref", "s3://", problem.InvalidArgument},
		"empty object":       {`{"image":{}}`, "image.ref", "s3://", problem.InvalidArgument},
		"type is a number":   {`{"image":{"ref":"s3://b/k","content_type":1}}`, "image.content_type", "a string", problem.InvalidArgument},
		"type is an object":  {`{"image":{"ref":"s3://b/k","content_type":{"a":1}}}`, "image.content_type", "a string", problem.InvalidArgument},
		"size is an array":   {`{"image":{"ref":"s3://b/k","size":[1]}}`, "image.size", "got a JSON", problem.InvalidArgument},
		"size is text":       {`{"image":{"ref":"s3://b/k","size":"123"}}`, "image.size", "non-negative integer", problem.InvalidArgument},
		"size is negative":   {`{"image":{"ref":"s3://b/k","size":-1}}`, "image.size", "non-negative integer", problem.InvalidArgument},
		"size is a fraction": {`{"image":{"ref":"s3://b/k","size":1.5}}`, "image.size", "non-negative integer", problem.InvalidArgument},
		"type without ref":   {`{"image":{"content_type":"image/png","size":1}}`, "image.ref", "s3://", problem.InvalidArgument},
		"three corners":      {`{"image":"aGk=","polygons":[[[0,0],[0,0],[0,0]]]}`, "polygons[0]", "array of 4", problem.InvalidArgument},
		"list is an object":  {`{"image":"aGk=","polygons":{}}`, "polygons", "expected an array", problem.InvalidArgument},
		"list is cut off":    {`{"image":"aGk=","orientations":[0`, "", "EOF", problem.MalformedBody},
		"list is too long":   {`{"image":"aGk=","orientations":[0` + strings.Repeat(",0", payload.MaxList) + `]}`, "orientations", "1000", problem.InvalidArgument},
		"fraction":           {`{"image":"aGk=","orientations":[0, 0.5]}`, "orientations[1]", "integer", problem.InvalidArgument},
		"text for a number":  {`{"image":"aGk=","orientations":["180"]}`, "orientations[0]", "integer", problem.InvalidArgument},
		"two marks":          {"\ufeff\ufeff{}", "", "invalid character", problem.MalformedBody},
		"invalid UTF-8":      {"{\"image\":\"\xff\"}", "", "UTF-8", problem.MalformedBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got form
			err := payload.Decode(serve.Payload{Body: []byte(tc.body)}, &got)
			var p *problem.Error
			if !errors.As(err, &p) {
				t.Fatalf("Decode(%s) = %v, want a problem", tc.body, err)
			}
			if p.Code != tc.code || !strings.Contains(p.Detail, tc.detail) {
				t.Errorf("got %s %q, want %s with %q", p.Code, p.Detail, tc.code, tc.detail)
			}
			if tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
				t.Errorf("fields %v, want %q", p.Fields, tc.field)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("0123456789"), 50_000)
	for name, tc := range map[string]struct {
		body string
		want []byte
	}{
		"base64":          {` {"polygons": [], "image": "aGk/Pz8=" }`, []byte("hi???")},
		"escaped slashes": {`{"image":"aGk\/Pz8="}`, []byte("hi???")},
		"empty":           {`{"image":""}`, []byte{}},
		"large":           {`{"image":"` + base64.StdEncoding.EncodeToString(large) + `"}`, large},
		"reference":       {`{"image":{"ref":"s3://bucket/inputs/a"}}`, large},
		"nulls":           {`{"image":{"ref":"s3://bucket/inputs/a","content_type":null,"size":null},"polygons":null}`, large},
		"a mark before":   {"\ufeff" + `{"polygons": [], "image": "aGk/Pz8=" }`, []byte("hi???")},
		"a mark, escapes": {"\ufeff" + `{"image":"aGk\/Pz8="}`, []byte("hi???")},
		"stored input":    {`{"image":{"ref":"s3://bucket/inputs/a","content_type":"image/png","size":123}}`, large},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var reserved int64
			in := serve.Payload{
				Body: []byte(tc.body),
				Open: func(_ context.Context, ref string) (io.ReadCloser, error) {
					if ref != "s3://bucket/inputs/a" {
						t.Errorf("opened %q", ref)
					}
					return io.NopCloser(bytes.NewReader(large)), nil
				},
				Reserve: func(_ context.Context, n int64) error { reserved += n; return nil },
			}
			var f form
			if err := payload.Decode(in, &f); err != nil {
				t.Fatal(err)
			}
			got, err := f.Image.Bytes(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if reserved < int64(len(got)) {
				t.Errorf("reserved %d bytes for %d", reserved, len(got))
			}
		})
	}
}

func TestBytesFails(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection reset")
	full := problem.New(problem.Overloaded, "memory budget is full")
	for name, tc := range map[string]struct {
		body    string
		open    error
		reader  io.Reader
		reserve error
		code    problem.Code
		field   string
	}{
		"not base64":       {body: `{"image":"a_k="}`, code: problem.InvalidArgument, field: "image"},
		"no padding":       {body: `{"image":"aGk"}`, code: problem.InvalidArgument, field: "image"},
		"not found":        {body: `{"image":{"ref":"s3://b/k"}}`, open: problem.New(problem.NotFound, "no such input"), code: problem.NotFound, field: "image.ref"},
		"outside":          {body: `{"image":{"ref":"s3://b/k"}}`, open: problem.Invalid("ref", "expected s3://models/inputs/…"), code: problem.InvalidArgument, field: "image.ref"},
		"cut off":          {body: `{"image":{"ref":"s3://b/k"}}`, reader: iotest.ErrReader(cut), code: problem.Internal},
		"no memory":        {body: `{"image":"aGk="}`, reserve: full, code: problem.Overloaded},
		"no memory by ref": {body: `{"image":{"ref":"s3://b/k"}}`, reserve: full, reader: strings.NewReader("x"), code: problem.Overloaded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := serve.Payload{
				Body:    []byte(tc.body),
				Open:    func(context.Context, string) (io.ReadCloser, error) { return io.NopCloser(tc.reader), tc.open },
				Reserve: func(context.Context, int64) error { return tc.reserve },
			}
			var f form
			if err := payload.Decode(in, &f); err != nil {
				t.Fatal(err)
			}
			_, err := f.Image.Bytes(t.Context(), in)
			p := problem.From(err)
			if p == nil || p.Code != tc.code {
				t.Fatalf("got %v, want %s", err, tc.code)
			}
			if tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
				t.Errorf("fields %v, want %q", p.Fields, tc.field)
			}
		})
	}
	t.Run("no references here", func(t *testing.T) {
		t.Parallel()
		in := serve.Payload{Body: []byte(`{"image":{"ref":"s3://b/k"}}`)}
		var f form
		if err := payload.Decode(in, &f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Image.Bytes(t.Context(), in); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"image":"aGk=","polygons":[[[0,0],[1,0],[1,1],[0,1]]],"orientations":[0]}`,
		`{"image":{"ref":"s3://b/k"}}`, `{"image":"\u0041\/"}`, `{`, `{"image":"a","image":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := serve.Payload{Body: body}
		var got form
		if err := payload.Decode(in, &got); err != nil {
			if c := problem.CodeOf(err); c != problem.MalformedBody && c != problem.InvalidArgument {
				t.Fatalf("code %s: %v", c, err)
			}
			return
		}
		if _, err := got.Image.Bytes(t.Context(), in); err != nil && problem.CodeOf(err) != problem.InvalidArgument {
			t.Fatal(err)
		}
	})
}
