package functions_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/modelserveai/modelserve/functions/content-detect/contentdetect"
	"github.com/modelserveai/modelserve/functions/speech-detect/speechdetect"
	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/pipelines/functions"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// codecs are what the schemas are of.
func codecs() map[string]struct {
	codec  serve.Codec
	answer any
} {
	return map[string]struct {
		codec  serve.Codec
		answer any
	}{
		"content-detect": {contentdetect.New(), contentdetect.Answer{}},
		"speech-detect":  {speechdetect.New(), speechdetect.Answer{}},
		"text-detect":    {textdetect.New(textdetect.Options{}), textdetect.Answer{}},
		"text-orient":    {textorient.New(textorient.Options{}), textorient.Answer{}},
		"text-recognize": {textrecognize.New(textrecognize.Options{}), textrecognize.Answer{}},
	}
}

func schemaOf(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) bool {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s.Validate(value) == nil
}

// An answer has the fields of the output's schema, of the same types.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, of := range codecs() {
		f, ok := functions.Shipped(name)
		if !ok {
			t.Fatalf("%s has no schemas", name)
		}
		var schema map[string]any
		if err := json.Unmarshal(f.Output, &schema); err != nil {
			t.Fatal(err)
		}
		same(t, name, reflect.TypeOf(of.answer), schema)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(codecs())), functions.Names()); diff != "" {
		t.Errorf("-codecs +names %s", diff)
	}
	if _, ok := functions.Shipped("onnx"); ok {
		t.Error("onnx has a native payload")
	}
}

func same(t *testing.T, path string, of reflect.Type, schema map[string]any) {
	t.Helper()
	kinds := map[reflect.Kind]string{
		reflect.Int: "integer", reflect.Float64: "number", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Slice: "array", reflect.Array: "array", reflect.Struct: "object",
	}
	if schema["type"] != kinds[of.Kind()] {
		t.Errorf("%s is a %s, and %v in the schema", path, of, schema["type"])
		return
	}
	switch of.Kind() {
	case reflect.Array:
		if n := float64(of.Len()); schema["minItems"] != n || schema["maxItems"] != n {
			t.Errorf("%s has %v elements, and %v to %v in the schema", path, n, schema["minItems"], schema["maxItems"])
		}
		fallthrough
	case reflect.Slice:
		items, _ := schema["items"].(map[string]any)
		same(t, path+"[]", of.Elem(), items)
	case reflect.Struct:
		members, _ := schema["properties"].(map[string]any)
		var names []string
		for i := range of.NumField() {
			name := of.Field(i).Tag.Get("json")
			names = append(names, name)
			member, _ := members[name].(map[string]any)
			same(t, path+"."+name, of.Field(i).Type, member)
		}
		var required []string
		for _, name := range schema["required"].([]any) { //nolint:forcetypeassert // else it fails
			required = append(required, name.(string)) //nolint:forcetypeassert // else it fails
		}
		if diff := cmp.Diff(names, required); diff != "" || len(members) != len(names) || schema["additionalProperties"] != false {
			t.Errorf("%s: -type +schema\n%s", path, diff)
		}
	}
}

// stub is a model that is never reached by what a codec refuses.
type stub struct{}

var errStub = errors.New("the model was run") //nolint:gochecknoglobals // an error

func (stub) Run(context.Context, []infer.Tensor) ([]infer.Tensor, error) { return nil, errStub }
func (stub) Info() *serve.ModelInfo {
	return &serve.ModelInfo{Metadata: map[string]string{"character": "a\nb"}}
}

// What a schema allows, the codec takes, and what it does not, the codec refuses.
func TestInputs(t *testing.T) {
	t.Parallel()
	image := file(t, "../../functions/text-orient/testdata/line.png")
	field := map[string]string{"content-detect": "content", "speech-detect": "audio", "text-detect": "image", "text-orient": "image", "text-recognize": "image"}
	good := map[string]string{"content-detect": image, "speech-detect": file(t, "../../functions/speech-detect/testdata/stereo-8k.wav"), "text-detect": image, "text-orient": image, "text-recognize": image}
	polygon := `[[1,1],[9,1],[9.5,9],[1,9]]`
	for name, of := range codecs() {
		f, _ := functions.Shipped(name)
		schema := schemaOf(t, f.Input)
		source := `"` + field[name] + `":"` + good[name] + `"`
		cases := []string{
			`{` + source + `}`, `{}`, `[]`, `"text"`, `null`, `{` + source + `,"more":1}`,
			`{"` + field[name] + `":5}`, `{"` + field[name] + `":null}`, `{"` + field[name] + `":{"url":"x"}}`, `{"` + field[name] + `":{"ref":"http://x"}}`,
			`{"` + field[name] + `":{"ref":"s3://b/k","size":-1}}`, `{"` + field[name] + `":{"ref":"s3://b/k","content_type":1}}`, `{"` + field[name] + `":{"ref":"s3://b/k","other":1}}`,
		}
		for _, more := range []string{
			`"polygons":null`, `"polygons":[` + polygon + `]`, `"polygons":[[[1,2]]]`, `"polygons":{}`, `"polygons":[[[1,1],[9,1],[9,9],["1",9]]]`,
			`"polygons":[` + polygon + `],"orientations":[180]`, `"polygons":[` + polygon + `],"orientations":[90]`, `"polygons":[` + polygon + `],"orientations":["0"]`,
			`"polygons":[` + polygon + `],"orientations":null`,
		} {
			cases = append(cases, `{`+source+`,`+more+`}`)
		}
		for _, body := range cases {
			shown := strings.ReplaceAll(body, good[name], "…")
			_, err := of.codec.Answer(t.Context(), serve.Payload{ContentType: "application/json", Body: []byte(body)}, stub{})
			refused := problem.CodeOf(err) == problem.InvalidArgument || problem.CodeOf(err) == problem.MalformedBody
			if allowed := valid(t, schema, body); allowed == refused {
				t.Errorf("%s %s: the schema allows it: %v, the codec: %v", name, shown, allowed, err)
			}
		}
		for _, body := range []string{`{"ref":"s3://b/k"}`, `{"ref":"s3://b/k","content_type":"image/png","size":5}`, `{"ref":"s3://b/k","content_type":null,"size":null}`} {
			if !valid(t, schema, `{"`+field[name]+`":`+body+`}`) {
				t.Errorf("%s: %s is refused", name, body)
			}
		}
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

func TestModel(t *testing.T) {
	t.Parallel()
	signature := &infer.Signature{
		Inputs: []infer.TensorSpec{
			{Name: "x", DataType: infer.FP32, Shape: []infer.Dim{infer.Dynamic, 2}},
			{Name: "mask", DataType: infer.Bool, Shape: []infer.Dim{infer.Dynamic}, Optional: true},
		},
		Outputs: []infer.TensorSpec{{Name: "p", DataType: infer.FP32, Shape: []infer.Dim{infer.Dynamic}}},
	}
	f, err := functions.Model(signature)
	if err != nil || !f.Model {
		t.Fatalf("got %v, %v", f.Model, err)
	}
	input, output := schemaOf(t, f.Input), schemaOf(t, f.Output)
	for body, want := range map[string]bool{
		`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`:                                         true,
		`{"id":"a","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[[1,"NaN"]]}],"outputs":[{"name":"p"}]}`: true,
		`{}`:            false,
		`{"inputs":[]}`: false,
		`{"inputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`:                        false,
		`{"inputs":[{"name":"x","datatype":"FP64","shape":[1,2],"data":[1,2]}]}`:                        false,
		`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2]}]}`:                                     false,
		`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1]}],"outputs":[{"name":"q"}]}`: false,
	} {
		if got := valid(t, input, body); got != want {
			t.Errorf("%s: allowed %v, want %v", body, got, want)
		}
		if _, err := infer.DecodeRequest([]byte(body), infer.NoHeader, infer.Limits{}); want && err != nil {
			t.Errorf("%s: the protocol refuses it: %v", body, err)
		}
	}
	if !valid(t, output, `{"model_name":"m","model_version":"1","outputs":[{"name":"p","datatype":"FP32","shape":[1],"data":[0.5]}]}`) {
		t.Error("an answer is refused")
	}
}
