package speechdetect

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/codec/audio"
	"github.com/modelserveai/modelserve/codec/codectest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// tolerance is how far a window's probability may lie from the reference's.
// The segments must be the same to the sample.
const tolerance = 1e-4

// reference is silero-vad's answer for a recording.
type reference struct {
	Duration      float64   `json:"duration"`
	Samples       int64     `json:"samples"`
	Probabilities []float32 `json:"probabilities"`
	Segments      []struct {
		Start int64 `json:"start"`
		End   int64 `json:"end"`
	} `json:"segments"`
}

func TestGolden(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]reference
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../testdata/*.wav")
	if err != nil || len(files) != len(golden) || len(files) == 0 {
		t.Fatalf("%d recordings, %d answers: %v", len(files), len(golden), err)
	}
	if n := len(golden["speech.wav"].Probabilities); n <= windowsPerRun {
		t.Fatalf("no recording needs two runs: %d windows", n)
	}
	model := codectest.Open(t, "../../../.deps/models/speech-detect/silero_vad_16k_sequence.onnx")
	for name, want := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.ReadFile(filepath.Join("../testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			w, err := audio.ParseWAV("audio", file)
			if err != nil {
				t.Fatal(err)
			}
			mono, length, err := at16kHz(t.Context(), w, serve.Payload{})
			if err != nil || length != want.Samples {
				t.Fatalf("%d samples, want %d: %v", length, want.Samples, err)
			}
			probabilities, err := listen(t.Context(), mono, model)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Probabilities, probabilities, cmpopts.EquateApprox(0, tolerance)); diff != "" {
				t.Errorf("probabilities (-reference +got):\n%s", diff)
			}

			answer, err := New().Answer(t.Context(), serve.Payload{Body: file}, model)
			if err != nil {
				t.Fatal(err)
			}
			got := answer.(*Answer)
			if got.Duration != want.Duration || len(got.Segments) != len(want.Segments) {
				t.Fatalf("answer %+v, want %+v", got, want.Segments)
			}
			for i, s := range got.Segments {
				start, end := float64(want.Segments[i].Start)/rate, float64(want.Segments[i].End)/rate
				if s.Start != start || s.End != min(end, want.Duration) || s.Score < leave || s.Score > 1 {
					t.Errorf("segment %d is %+v, want %v to %v", i, s, start, end)
				}
			}
		})
	}
}

// listener is a model that finds speech where samples are not zero. It checks
// the inputs' layout and that the state comes back.
type listener struct {
	runs  int64
	other bool // another model's outputs
}

func (l *listener) Info() *serve.ModelInfo { return &serve.ModelInfo{} }

func (l *listener) Run(_ context.Context, in []infer.Tensor) ([]infer.Tensor, error) {
	input, err := infer.Values[float32](&in[0])
	if err != nil {
		return nil, err
	}
	h, err := infer.Values[float32](&in[1])
	if err != nil {
		return nil, err
	}
	windows := in[0].Shape[0]
	if len(in) != 3 || int64(len(input)) != windows*rowSamples || windows > windowsPerRun || h[0] != float32(l.runs) {
		panic("not the model's input")
	}
	l.runs++
	next := make([]float32, stateSize)
	next[0] = float32(l.runs)
	found := make([]float32, windows)
	for i := range found {
		row := input[i*rowSamples : (i+1)*rowSamples]
		for _, s := range row[contextSamples:] {
			found[i] = max(found[i], float32(math.Abs(float64(s))))
		}
		if i > 0 && !bytes.Equal(infer.NewTensor("", nil, row[:contextSamples]).Data, infer.NewTensor("", nil, input[i*rowSamples-contextSamples:i*rowSamples]).Data) {
			panic("a row does not begin with the end of the one before")
		}
	}
	if l.other {
		return []infer.Tensor{infer.NewTensor("output", []int64{windows}, found)}, nil
	}
	return []infer.Tensor{
		infer.NewTensor("speech_probs", []int64{windows}, found),
		infer.NewTensor("hn", []int64{1, 1, stateSize}, next),
		infer.NewTensor("cn", []int64{1, 1, stateSize}, next),
	}, nil
}

// wav8 is a WAV of one channel of 8 bits.
func wav8(rate uint32, samples []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	b = le.AppendUint32(le.AppendUint32(b, rate), rate)
	b = append(b, "\x01\x00\x08\x00data"...)
	b = append(le.AppendUint32(b, uint32(len(samples))), samples...)
	le.PutUint32(b[4:], uint32(len(b)-8))
	return b
}

// halfSecond is silence with half a second of full scale after the first.
func halfSecond() []byte {
	data := bytes.Repeat([]byte{128}, 3*rate)
	for i := rate; i < rate*3/2; i++ {
		data[i] = 0
	}
	return wav8(rate, data)
}

func TestAnswerForms(t *testing.T) {
	t.Parallel()
	sound := base64.StdEncoding.EncodeToString(halfSecond())
	speech := &Answer{Duration: 3, Segments: []Segment{{Start: 0.962, End: 1.534, Score: 1}}}
	for name, tc := range map[string]struct {
		in    serve.Payload
		want  *Answer
		code  problem.Code
		field string
	}{
		"a WAV":       {in: serve.Payload{ContentType: "audio/wav", Body: halfSecond()}, want: speech},
		"untyped":     {in: serve.Payload{Body: halfSecond()}, want: speech},
		"base64":      {in: form(`{"audio": "` + sound + `"}`), want: speech},
		"a reference": {in: form(`{"audio": {"ref": "s3://b/inputs/x"}}`), want: speech},
		"no samples":  {in: serve.Payload{Body: wav8(8000, nil)}, want: &Answer{Segments: []Segment{}}},
		"nothing":     {in: serve.Payload{}, code: problem.InvalidArgument, field: "audio"},
		"no audio":    {in: form(`{}`), code: problem.InvalidArgument, field: "audio"},
		"not base64":  {in: form(`{"audio": "*"}`), code: problem.InvalidArgument, field: "audio"},
		"not a WAV":   {in: form(`{"audio": "aGVsbG8="}`), code: problem.InvalidArgument, field: "audio"},
		"named twice": {in: form(`{"audio": "", "audio": ""}`), code: problem.InvalidArgument, field: "audio"},
		"deep":        {in: form(string(bytes.Repeat([]byte("["), 1000))), code: problem.MalformedBody},
		"NaN":         {in: form(`{"audio": NaN}`), code: problem.MalformedBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.in.Open = func(context.Context, string) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(halfSecond())), nil
			}
			got, err := New().Answer(t.Context(), tc.in, &listener{})
			if tc.code != "" {
				p := problem.From(err)
				if err == nil || p.Code != tc.code || tc.field != "" && (len(p.Fields) != 1 || p.Fields[0].Field != tc.field) {
					t.Fatalf("got %v, want %s about %q", err, tc.code, tc.field)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(any(tc.want), got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMemoryIsReserved(t *testing.T) {
	t.Parallel()
	full := problem.New(problem.Overloaded, "no memory left")
	in := serve.Payload{
		Body:    wav8(383_999, make([]byte, 100)),
		Reserve: func(context.Context, int64) error { return full },
	}
	if _, err := New().Answer(t.Context(), in, &listener{}); problem.CodeOf(err) != problem.Overloaded {
		t.Errorf("got %v", err)
	}
}

func TestOtherModel(t *testing.T) {
	t.Parallel()
	_, err := New().Answer(t.Context(), serve.Payload{Body: halfSecond()}, &listener{other: true})
	if problem.CodeOf(err) != problem.ModelUnavailable {
		t.Errorf("got %v, want %s", err, problem.ModelUnavailable)
	}
}

func form(body string) serve.Payload {
	return serve.Payload{ContentType: "application/json", Body: []byte(body)}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"audio": "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="}`))
	f.Add([]byte(`{"audio": {"ref": "s3://b/k"}}`))
	f.Add([]byte(`{"audio": null}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		in := form(string(body))
		in.Reserve = func(_ context.Context, n int64) error {
			if n < 0 || n > 64<<20 {
				t.Fatalf("%d bytes reserved for a body of %d", n, len(body))
			}
			return nil
		}
		if _, err := New().Answer(t.Context(), in, &listener{}); err != nil && problem.CodeOf(err) == problem.Internal {
			t.Fatalf("a bad payload is not the caller's fault: %v", err)
		}
	})
}
