package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/problem"
)

// hash is a plan's.
const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func value(text string) envelope.Value { return envelope.Value{JSON: json.RawMessage(text)} }

func claim() *envelope.Claim {
	return &envelope.Claim{Ref: "s3://bucket/payloads/acme/ex1/a.json", SHA256: hash, Size: 70_000, ContentType: "application/json"}
}

// whole is an envelope with all that one may have.
func whole() *envelope.Envelope {
	item := value(`"it"`)
	at := time.Date(2027, 1, 31, 12, 0, 0, 5000, time.UTC)
	return &envelope.Envelope{
		Input: envelope.Value{Claim: claim()},
		Event: json.RawMessage(`{"type":"t"}`),
		Steps: map[string]envelope.Value{
			"detect": value(`{"ref":"s3://not/a/claim","sha256":"x","size":1,"content_type":""}`), "_a-B9": {Claim: claim()}, "skipped": value(`null`),
		},
		Item: &item, Index: 3,
		Plans: map[string]json.RawMessage{hash: json.RawMessage(`{"step":"detect"}`)},
		Records: []envelope.Record{
			{Step: "detect", Epoch: 2, StartedAt: at, FinishedAt: at.Add(time.Second), Model: "m@1;digest=sha256:x", Device: "cpu", ComputeMS: 1.25, Rows: 4, Size: 10},
		},
	}
}

// TestEncode holds that what is written is read as it was, in the same bytes each time,
// which stay the same within JSON that a Go program writes anew.
func TestEncode(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*envelope.Envelope{"whole": whole(), "least": {Input: value(`1`)}} {
		text, err := e.Encode()
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := envelope.Parse(text)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if again, err := got.Encode(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%s: %v: %s, and then %s", name, err, text, again)
		}
	}
	text, err := (&envelope.Envelope{Input: value(" { \"a\" : \"<&>\u2028\" } ")}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(json.RawMessage(text)); err != nil || !bytes.Equal(again, text) {
		t.Errorf("%v: %s, and then %s", err, text, again)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	text, err := whole().Encode()
	if err != nil {
		t.Fatal(err)
	}
	many := func(format string) string {
		var parts []string
		for i := range envelope.MaxSteps + 1 {
			parts = append(parts, fmt.Sprintf(format, i))
		}
		return strings.Join(parts, ",")
	}
	const claimed = `"claims":["input"],"input":`
	const good = `{"ref":"s3://b/k","sha256":"` + hash + `","size":1,"content_type":"application/json"}`
	const record = `{"step":"a","epoch":1,"started_at":"2027-01-31T12:00:00Z","finished_at":"2027-01-31T12:00:00Z","model":"","device":"","compute_ms":1,"rows":1,"size":1}`
	for name, tc := range map[string]struct {
		text  string
		code  problem.Code
		field string
	}{
		"nothing":                {``, problem.MalformedBody, ""},
		"no JSON":                {`{"input":`, problem.MalformedBody, ""},
		"an array":               {`[]`, problem.InvalidArgument, "body"},
		"null":                   {`null`, problem.InvalidArgument, "input"},
		"two values":             {`{"input":1}{}`, problem.MalformedBody, ""},
		"cut off":                {string(text[:len(text)-1]), problem.MalformedBody, ""},
		"no input":               {`{}`, problem.InvalidArgument, "input"},
		"unknown":                {`{"input":1,"extra":1}`, problem.InvalidArgument, "extra"},
		"another case":           {`{"Input":1}`, problem.InvalidArgument, "Input"},
		"twice":                  {`{"input":1,"input":2}`, problem.InvalidArgument, "input"},
		"twice within":           {`{"input":{"a":1,"a":2}}`, problem.InvalidArgument, "input.a"},
		"twice by an escape":     {`{"input":1,"inpu\u0074":2}`, problem.InvalidArgument, "input"},
		"no UTF-8":               {"{\"input\":\"\xff\"}", problem.MalformedBody, ""},
		"deep":                   {`{"input":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, problem.MalformedBody, ""},
		"deep, not closed":       {`{"input":` + strings.Repeat("[", 1000), problem.MalformedBody, ""},
		"too long":               {`{"input":"` + strings.Repeat("x", envelope.MaxEnvelope) + `"}`, problem.PayloadTooLarge, ""},
		"a long value":           {`{"input":"` + strings.Repeat("x", envelope.MaxInline) + `"}`, problem.PayloadTooLarge, ""},
		"a step's name":          {`{"input":1,"steps":{"a.b":1}}`, problem.InvalidArgument, "steps"},
		"a digit first":          {`{"input":1,"steps":{"1a":1}}`, problem.InvalidArgument, "steps"},
		"steps are a list":       {`{"input":1,"steps":[]}`, problem.InvalidArgument, "steps"},
		"steps are null":         {`{"input":1,"steps":null}`, problem.InvalidArgument, "steps"},
		"many steps":             {`{"input":1,"steps":{` + many(`"s%d":1`) + `}}`, problem.InvalidArgument, "steps"},
		"a step twice":           {`{"input":1,"steps":{"a":1,"a":1}}`, problem.InvalidArgument, "steps.a"},
		"an item alone":          {`{"input":1,"item":1}`, problem.InvalidArgument, "index"},
		"an index alone":         {`{"input":1,"index":1}`, problem.InvalidArgument, "index"},
		"a negative index":       {`{"input":1,"item":1,"index":-1}`, problem.InvalidArgument, "index"},
		"half an index":          {`{"input":1,"item":1,"index":0.5}`, problem.InvalidArgument, "index"},
		"an event that is text":  {`{"input":1,"event":"t"}`, problem.InvalidArgument, "event"},
		"a claim of nothing":     {`{"input":1,"claims":["steps.a"]}`, problem.InvalidArgument, "claims[0]"},
		"a claim of all":         {`{"input":1,"claims":["plans"]}`, problem.InvalidArgument, "claims[0]"},
		"a claim twice":          {`{` + claimed + good + `,"claims2":1}`, problem.InvalidArgument, "claims2"},
		"the same claim twice":   {`{"claims":["input","input"],"input":` + good + `}`, problem.InvalidArgument, "claims[1]"},
		"many claims":            {`{"input":1,"claims":[` + many(`"c%d"`) + `]}`, problem.InvalidArgument, "claims"},
		"a claim that is text":   {`{` + claimed + `"s3://b/k"}`, problem.InvalidArgument, "input"},
		"a claim that is null":   {`{` + claimed + `null}`, problem.InvalidArgument, "input.ref"},
		"a claim with more":      {`{` + claimed + `{"ref":"s3://b/k","sha256":"` + hash + `","size":1,"content_type":"","extra":1}}`, problem.InvalidArgument, "input"},
		"a claim elsewhere":      {`{` + claimed + strings.Replace(good, "s3:", "http:", 1) + `}`, problem.InvalidArgument, "input.ref"},
		"a claim with no hash":   {`{` + claimed + strings.Replace(good, hash, "abc", 1) + `}`, problem.InvalidArgument, "input.sha256"},
		"a claim with capitals":  {`{` + claimed + strings.Replace(good, hash, strings.ToUpper(hash), 1) + `}`, problem.InvalidArgument, "input.sha256"},
		"a claim of less than 0": {`{` + claimed + strings.Replace(good, `"size":1`, `"size":-1`, 1) + `}`, problem.InvalidArgument, "input.size"},
		"a plan that is text":    {`{"input":1,"plans":{"` + hash + `":"x"}}`, problem.InvalidArgument, "plans"},
		"a plan's hash":          {`{"input":1,"plans":{"x":{}}}`, problem.InvalidArgument, "plans"},
		"many plans":             {`{"input":1,"plans":{` + many(`"p%d":{}`) + `}}`, problem.InvalidArgument, "plans"},
		"many records":           {`{"input":1,"records":[` + many(`{"step":"a","epoch":%d}`) + `]}`, problem.InvalidArgument, "records"},
		"a record of no step":    {`{"input":1,"records":[` + strings.Replace(record, `"a"`, `""`, 1) + `]}`, problem.InvalidArgument, "records[0].step"},
		"a record with more":     {`{"input":1,"records":[` + strings.Replace(record, `"rows"`, `"rowz"`, 1) + `]}`, problem.InvalidArgument, "records[0].rowz"},
		"a record without times": {`{"input":1,"records":[{"step":"a"}]}`, problem.InvalidArgument, "records[0]"},
		"a record that is less":  {`{"input":1,"records":[` + strings.Replace(record, `"rows":1`, `"rows":-1`, 1) + `]}`, problem.InvalidArgument, "records[0]"},
		"a record of no time":    {`{"input":1,"records":[` + strings.Replace(record, `"compute_ms":1`, `"compute_ms":-1`, 1) + `]}`, problem.InvalidArgument, "records[0].compute_ms"},
		"a long device":          {`{"input":1,"records":[` + strings.Replace(record, `"device":""`, `"device":"`+strings.Repeat("x", 64)+`"`, 1) + `]}`, problem.InvalidArgument, "records[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := envelope.Parse([]byte(tc.text))
			var known *problem.Error
			if !errors.As(err, &known) || known.Code != tc.code || e != nil {
				t.Fatalf("%v; want %s", err, tc.code)
			}
			if tc.field != "" && (len(known.Fields) != 1 || known.Fields[0].Field != tc.field) {
				t.Errorf("fields %+v, want %q", known.Fields, tc.field)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	steps := map[string]envelope.Value{}
	for i := range 5 {
		steps[fmt.Sprintf("s%d", i)] = value(`"` + strings.Repeat("x", 60<<10) + `"`)
	}
	for name, tc := range map[string]struct {
		e    *envelope.Envelope
		code problem.Code
	}{
		"nothing":              {&envelope.Envelope{}, problem.InvalidArgument},
		"both":                 {&envelope.Envelope{Input: envelope.Value{JSON: json.RawMessage(`1`), Claim: claim()}}, problem.InvalidArgument},
		"no JSON":              {&envelope.Envelope{Input: value(`{`)}, problem.InvalidArgument},
		"large":                {&envelope.Envelope{Input: value(`"` + strings.Repeat("x", envelope.MaxInline) + `"`)}, problem.PayloadTooLarge},
		"large once it is out": {&envelope.Envelope{Input: value(`"` + strings.Repeat("<", envelope.MaxInline/2) + `"`)}, problem.PayloadTooLarge},
		"large together":       {&envelope.Envelope{Input: value(`1`), Steps: steps}, problem.PayloadTooLarge},
		"an index alone":       {&envelope.Envelope{Input: value(`1`), Index: 1}, problem.InvalidArgument},
	} {
		if text, err := tc.e.Encode(); problem.CodeOf(err) != tc.code || text != nil {
			t.Errorf("%s: %v; want %s", name, err, tc.code)
		}
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	data := []byte(`{"input":1}`)
	length, sum := envelope.Stamp(data)
	if err := envelope.CheckStamp(data, length, sum); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		data        []byte
		length, sum string
	}{
		"cut":        {data[:5], length, sum},
		"other":      {[]byte(`{"input":2}`), length, sum},
		"a zero":     {data, "0" + length, sum},
		"no length":  {data, "", sum},
		"no sum":     {data, length, ""},
		"capitals":   {data, length, strings.ToUpper(sum)},
		"none of it": {nil, length, sum},
	} {
		if err := envelope.CheckStamp(tc.data, tc.length, tc.sum); !errors.Is(err, envelope.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if id := envelope.ID("ex1", "detect", 2, 3); id != "ex1.detect.2.3" {
		t.Error(id)
	}
	key := envelope.OutputKey("acme", "ex1", "detect", 2, 3, hash)
	if key != "payloads/acme/ex1/detect.2.3-0123456789abcdef.json" || !strings.HasPrefix(key, envelope.Payloads("acme", "ex1")) {
		t.Error(key)
	}
	for ref, want := range map[string]bool{
		"s3://b/payloads/acme/ex1/a": true, "s3://b/inputs/acme/a": true,
		"s3://b/payloads/acme/ex2/a": false, "s3://b/payloads/acme/ex11/a": false, "s3://b/payloads/other/ex1/a": false, "s3://b/inputs/acme": false,
		"s3://b/models/acme/1": false, "s3://payloads/acme/ex1/a": false, "http://b/inputs/acme/a": false, "": false, "s3://b": false,
	} {
		if c := (&envelope.Claim{Ref: ref}); c.Is("acme", "ex1") != want {
			t.Errorf("%s: %v", ref, !want)
		}
	}
	if (&envelope.Claim{Ref: "s3://b/inputs//a"}).Is("", "ex1") || (&envelope.Claim{Ref: "s3://b/payloads/acme//a"}).Is("acme", "") {
		t.Error("a claim check of nobody's")
	}
}

// FuzzParse holds that what is read can be written, and read again as the same.
func FuzzParse(f *testing.F) {
	text, err := whole().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"input":{"a":[1,2,{"b":"<"}]},"steps":{"x":null},"item":1,"index":0}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := envelope.Parse(text)
		if err != nil {
			var known *problem.Error
			if !errors.As(err, &known) {
				t.Fatal(err)
			}
			return
		}
		out, err := e.Encode()
		if problem.CodeOf(err) == problem.PayloadTooLarge {
			return // escaped, it is longer
		}
		if err != nil {
			t.Fatalf("%v of %s", err, text)
		}
		again, err := envelope.Parse(out)
		if err != nil {
			t.Fatalf("%v of %s", err, out)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(out, second) {
			t.Fatalf("%v: %s, and then %s", err, out, second)
		}
	})
}
