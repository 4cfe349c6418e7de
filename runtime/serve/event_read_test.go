package serve_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
)

const structured = "application/cloudevents+json"

// orders are the permutations of the numbers below n.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, shorter := range orders(n - 1) {
		for at := range n {
			order := append([]int{}, shorter[:at]...)
			all = append(all, append(append(order, n-1), shorter[at:]...))
		}
	}
	return all
}

// TestEventsAreReadInEveryOrder holds that neither the order of an event's
// members, nor white space, nor escapes, nor nulls change what is read.
func TestEventsAreReadInEveryOrder(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	spacings := map[string]func(string) string{
		"compact": func(text string) string { return text },
		"spaced":  func(text string) string { return strings.NewReplacer(`":`, `" : `, `,"`, " ,\t\"").Replace(text) },
		"lines": func(text string) string {
			var b bytes.Buffer
			if err := json.Indent(&b, []byte(text), "", "\t"); err != nil {
				t.Fatal(err)
			}
			return b.String()
		},
	}
	for name, tc := range map[string]struct {
		members [4]string
		want    answer
	}{
		"text": {
			[4]string{`"datacontenttype":"text\/plain"`, `"data":"a\n\u00e9\/\"b\""`, `"data_base64":null`, `"specversion":"1.0"`},
			answer{ContentType: "text/plain", Body: "a\né/\"b\""},
		},
		"bytes": {
			[4]string{`"datacontenttype":"image/png"`, `"data_base64":"YWJjPz8\/"`, `"data":null`, `"specversion":"1.0"`},
			answer{ContentType: "image/png", Body: "abc???"},
		},
		"bytes in an escaped member": {
			[4]string{`"data\u0063ontenttype":"image/png"`, `"d\u0061ta_base64":"\u0059WJjPz8/"`, `"data":null`, `"specversi\u006fn":"1.\u0030"`},
			answer{ContentType: "image/png", Body: "abc???"},
		},
		"bytes without a type": {
			[4]string{`"datacontenttype":null`, `"data_base64":"YWJjPz8/"`, `"data":null`, `"specversion":"1.0"`},
			answer{Body: "abc???"},
		},
		"JSON of its own type": {
			[4]string{`"datacontenttype":"application/vnd.case+json; v=1"`, `"data":[1,2]`, `"data_base64":null`, `"specversion":"1.0"`},
			answer{ContentType: "application/vnd.case+json", Body: "[1,2]"},
		},
		"JSON without a type": {
			[4]string{`"datacontenttype":null`, `"data":7`, `"data_base64":null`, `"specversion":"1.0"`},
			answer{ContentType: "application/json", Body: "7"},
		},
		"no data": {
			[4]string{`"datacontenttype":"text/plain"`, `"data":null`, `"data_base64":null`, `"specversion":"1.0"`},
			answer{ContentType: "text/plain"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, order := range orders(len(tc.members)) {
				parts := []string{`"id":"1"`, `"subject":null`}
				for _, at := range order {
					parts = append(parts, tc.members[at])
				}
				event := "{" + strings.Join(append(parts, `"source":"\/tests"`, `"type":"t"`, `"time":null`, `"more":null`), ",") + "}"
				for spacing, write := range spacings {
					got := send(t, http.MethodPost, url, []byte(write(event)), "Content-Type", structured)
					if got.status != http.StatusOK {
						t.Fatalf("%s %s: %d %s", spacing, event, got.status, got.body)
					}
					checkAnswer(t, spacing+" "+event, got, tc.want)
				}
			}
		})
	}
}

// checkAnswer checks what a structured answer holds of the echo codec's, but for
// the white space between the values of JSON.
func checkAnswer(t *testing.T, about string, got reply, want answer) {
	t.Helper()
	var out struct{ Data answer }
	if err := json.Unmarshal(got.body, &out); err != nil {
		t.Fatalf("%s: %v in %s", about, err, got.body)
	}
	if strings.HasSuffix(want.ContentType, "json") {
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(out.Data.Body)); err != nil {
			t.Fatalf("%s: %v in %s", about, err, out.Data.Body)
		}
		out.Data.Body = compact.String()
	}
	out.Data.Sum = 0 // of the body's length
	if diff := cmp.Diff(want, out.Data); diff != "" {
		t.Errorf("%s: -want +got:\n%s", about, diff)
	}
}

// TestEventsOfThePythonSDK holds that what the official SDK for Python writes is
// read: the bodies are those of cloudevents 1.13, to_structured.
func TestEventsOfThePythonSDK(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for name, tc := range map[string]struct {
		body string
		want answer
	}{
		"bytes": {
			`{"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "time": "2026-01-01T00:00:00+00:00", "data_base64": "YWJjPz8/"}`,
			answer{Body: "abc???"},
		},
		"bytes with their type": {
			`{"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "datacontenttype": "image/png", "time": "2026-01-01T00:00:00+00:00", "data_base64": "YWJjPz8/"}`,
			answer{ContentType: "image/png", Body: "abc???"},
		},
		"text with its type": {
			`{"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "datacontenttype": "text/plain", "time": "2026-01-01T00:00:00+00:00", "data": "gr\u00fc\u00dfe\n"}`,
			answer{ContentType: "text/plain", Body: "grüße\n"},
		},
		"an object": {
			`{"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "time": "2026-01-01T00:00:00+00:00", "data": {"a": [1, "x"]}}`,
			answer{ContentType: "application/json", Body: `{"a":[1,"x"]}`},
		},
		"text without a type, and an extension that is None": {
			`{"specversion": "1.0", "id": "1", "source": "/tests", "type": "t", "time": "2026-01-01T00:00:00+00:00", "data": "text", "myext": null}`,
			answer{ContentType: "application/json", Body: `"text"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := send(t, http.MethodPost, url, []byte(tc.body), "Content-Type", structured)
			if got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			checkAnswer(t, tc.body, got, tc.want)
		})
	}
}

// TestExtensionsKeepTheirValues holds what an extension may be.
func TestExtensionsKeepTheirValues(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	for value, want := range map[string]string{
		`"a\u00e9"`: `"aé"`, `true`: `true`, `false`: `false`, `-2147483648`: `-2147483648`, `4.0`: `4`, `2e3`: `2000`, `""`: `""`, `null`: ``,
	} {
		body := `{"specversion":"1.0","id":"1","source":"/a","type":"t","myExt":` + value + `}`
		var out map[string]json.RawMessage
		send(t, http.MethodPost, url, []byte(body), "Content-Type", structured).into(t, &out)
		if got := string(out["myext"]); got != want {
			t.Errorf("%s: answered %s, want %s", value, got, want)
		}
	}
}

// TestFaultsOfEventsNameTheAttribute holds that an error names the attribute that is
// wrong and what was expected, and shows no value of the sender's.
func TestFaultsOfEventsNameTheAttribute(t *testing.T) {
	t.Parallel()
	url := native(t, newFake())
	foreign := regexp.MustCompile(`s3cret|interface|map\[|int32|ReadString|types\.|json:|jsontext|%!|mime:|input byte|unexpected`)
	// A member that is the same by name replaces the good one.
	with := func(member string) string {
		name, _, _ := strings.Cut(member, ":")
		parts := []string{member}
		for _, good := range []string{`"specversion":"1.0"`, `"id":"1"`, `"source":"/a"`, `"type":"t"`} {
			if !strings.HasPrefix(good, name+":") {
				parts = append(parts, good)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for name, tc := range map[string]struct {
		member string   // of a structured event
		header []string // or of a binary one
		field  string
		detail string
	}{
		"no version":              {member: `"specversion":null`, field: "specversion", detail: `expected "1.0"`},
		"an old version":          {member: `"specversion":"0.3"`, field: "specversion", detail: `expected "1.0"`},
		"a number as version":     {member: `"specversion":1.0`, field: "specversion", detail: `expected "1.0"`},
		"no id":                   {member: `"id":null`, field: "id", detail: "missing"},
		"a blank id":              {member: `"id":" "`, field: "id", detail: "missing"},
		"a number as id":          {member: `"id":77`, field: "id", detail: "a string"},
		"an object as id":         {member: `"id":{"s3cret":"s3cret"}`, field: "id", detail: "a string"},
		"a bad source":            {member: `"source":"http://[s3cret"`, field: "source", detail: "URI-reference"},
		"no source":               {member: `"source":""`, field: "source", detail: "missing"},
		"no type":                 {member: `"type":null`, field: "type", detail: "missing"},
		"a list as type":          {member: `"type":["s3cret"]`, field: "type", detail: "a string"},
		"a bad time":              {member: `"time":"s3cret"`, field: "time", detail: "2027-01-31T12:00:00Z"},
		"a number as time":        {member: `"time":1700000000`, field: "time", detail: "a string"},
		"a relative schema":       {member: `"dataschema":"s3cret"`, field: "dataschema", detail: "absolute URI"},
		"a type that is none":     {member: `"datacontenttype":"s3cret/"`, field: "datacontenttype", detail: "image/png"},
		"an object as extension":  {member: `"more":{"s3cret":1}`, field: "more", detail: "integer of 32 bits"},
		"a list as extension":     {member: `"more":["s3cret"]`, field: "more", detail: "integer of 32 bits"},
		"a fraction":              {member: `"more":1.5`, field: "more", detail: "integer of 32 bits"},
		"too large an integer":    {member: `"more":2147483648`, field: "more", detail: "integer of 32 bits"},
		"a number as dataref":     {member: `"dataref":5`, field: "dataref", detail: "where the data is"},
		"a name with a dash":      {member: `"my-ext":"s3cret"`, field: "my-ext", detail: "lower-case letters"},
		"a name without letters":  {member: `"":"s3cret"`, field: "", detail: "lower-case letters"},
		"Data for data":           {member: `"Data":"s3cret"`, field: "Data", detail: "lower-case letters"},
		"an object for Data":      {member: `"Data":{"s3cret":1}`, field: "Data", detail: "lower-case letters"},
		"the same extension":      {member: `"more":"s3cret","MORE":"s3cret"`, field: "more", detail: "capitals"},
		"broken base64":           {member: `"data_base64":"s3cret!"`, field: "data_base64", detail: "base64"},
		"an object as base64":     {member: `"data_base64":{"s3cret":1}`, field: "data_base64", detail: "base64"},
		"an object as text":       {member: `"data":{"s3cret":1},"datacontenttype":"text/plain"`, field: "data", detail: "expected a string"},
		"both":                    {member: `"data":"s3cret","data_base64":"YWJj"`, field: "data_base64", detail: "got both"},
		"too many":                {member: `"a0":1` + manyMembers(300), field: "body", detail: "at most 256"},
		"binary: no version":      {header: []string{"Ce-Specversion", "s3cret"}, field: "ce-specversion", detail: "1.0"},
		"binary: no id":           {header: []string{"Ce-Id", ""}, field: "ce-id", detail: "missing"},
		"binary: a bad source":    {header: []string{"Ce-Source", "http://[s3cret"}, field: "ce-source", detail: "URI-reference"},
		"binary: a bad time":      {header: []string{"Ce-Time", "s3cret"}, field: "ce-time", detail: "2027-01-31T12:00:00Z"},
		"binary: a schema":        {header: []string{"Ce-Dataschema", "s3cret"}, field: "ce-dataschema", detail: "absolute URI"},
		"binary: the type twice":  {header: []string{"Ce-Datacontenttype", "image/png"}, field: "ce-datacontenttype", detail: "Content-Type"},
		"binary: data":            {header: []string{"Ce-Data", "s3cret"}, field: "ce-data", detail: "as the body"},
		"binary: base64":          {header: []string{"Ce-Data_base64", "s3cret"}, field: "ce-data_base64", detail: "lower-case letters"},
		"binary: a dash":          {header: []string{"Ce-My-Ext", "s3cret"}, field: "ce-my-ext", detail: "lower-case letters"},
		"binary: no media type":   {header: []string{"Content-Type", "s3cret/"}, field: "Content-Type", detail: "image/png"},
		"binary: no media, blank": {header: []string{"Content-Type", ";"}, field: "Content-Type", detail: "image/png"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, headers := with(tc.member), []string{"Content-Type", structured}
			if tc.header != nil {
				body = "s3cret"
				headers = append([]string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/a", "Ce-Type", "t"}, tc.header...)
			}
			got := send(t, http.MethodPost, url, []byte(body), headers...)
			e := got.failed(t, problem.InvalidArgument)
			if len(e.Errors) != 1 || e.Errors[0].Field != tc.field {
				t.Errorf("fields %+v, want %q", e.Errors, tc.field)
			}
			if !strings.Contains(e.Detail, tc.detail) || foreign.Match(got.body) {
				t.Errorf("%s, want one with %q", got.body, tc.detail)
			}
		})
	}
}

// manyMembers are n extensions.
func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"x` + strings.Repeat("y", i) + `":"s3cret"`)
	}
	return b.String()
}
