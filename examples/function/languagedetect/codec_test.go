package languagedetect

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/problem"
)

// model is what train.py made.
const model = "../language-detect.onnx"

func TestAnswer(t *testing.T) {
	t.Parallel()
	runner := codectest.Open(t, model)
	for name, tc := range map[string]struct{ contentType, body, want string }{
		"German":    {"text/plain", "Mein Paket ist nicht angekommen.", "de"},
		"English":   {"text/plain", "My parcel has not arrived.", "en"},
		"Spanish":   {"text/plain", "El perro duerme debajo de la mesa.", "es"},
		"French":    {"text/plain", "Le chien dort sous la table.", "fr"},
		"Italian":   {"text/plain", "Non ho ricevuto il mio pacco.", "it"},
		"JSON":      {"application/json", `{"text": "Guten Tag"}`, "de"},
		"untyped":   {"", "buongiorno a tutti", "it"},
		"uppercase": {"text/plain", "WHERE IS THE STATION?", "en"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := codectest.Answer(t, Codec{}, runner, tc.contentType, tc.body)
			if err != nil {
				t.Fatal(err)
			}
			var answer Answer
			if err := json.Unmarshal([]byte(text), &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Language != tc.want || answer.Score <= 0.2 || answer.Score > 1 {
				t.Errorf("got %s, want %s", text, tc.want)
			}
		})
	}
}

func TestAnswerRefuses(t *testing.T) {
	t.Parallel()
	runner := codectest.Open(t, model)
	for name, tc := range map[string]struct {
		contentType, body string
		code              problem.Code
		field             string
	}{
		"nothing":          {"text/plain", "", problem.InvalidArgument, "body"},
		"no letters":       {"application/json", `{"text": "42!"}`, problem.InvalidArgument, "text"},
		"another field":    {"application/json", `{"sentence": "hello"}`, problem.InvalidArgument, "sentence"},
		"a number":         {"application/json", `{"text": 42}`, problem.InvalidArgument, "text"},
		"JSON cut off":     {"application/json", `{"text": "hello`, problem.MalformedBody, "text"},
		"an array of text": {"application/json", `["hello"]`, problem.MalformedBody, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := codectest.Answer(t, Codec{}, runner, tc.contentType, tc.body)
			p := problem.From(err)
			if p == nil || p.Code != tc.code || tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
				t.Errorf("got %+v, want %s of %q", p, tc.code, tc.field)
			}
		})
	}
}

// TestFeaturesAreTrainPys holds the counts to what train.py's features() returns,
// which the model was trained on.
func TestFeaturesAreTrainPys(t *testing.T) {
	t.Parallel()
	want := map[int]float64{39: 0.3015, 70: 0.3015, 167: 0.3015, 174: 0.603, 178: 0.3015, 227: 0.3015, 239: 0.3015, 400: 0.3015}
	for column, got := range features("Où est-ce ?") {
		if math.Abs(float64(got)-want[column]) > 1e-4 {
			t.Errorf("column %d is %v, want %v", column, got, want[column])
		}
	}
}
