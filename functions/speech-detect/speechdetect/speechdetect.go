// Package speechdetect is the codec of the speech-detect function: a WAV in,
// the stretches of speech in it out, by silero-vad's model and with the
// decisions of its get_speech_timestamps.
//
// It reads audio as a stream: its memory does not grow with the recording. It
// is not a speech recogniser, and it knows no container but WAV.
package speechdetect

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/codec/audio"
	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// What the model was trained on: windows of 512 samples at 16 kHz, each behind
// the 64 samples before it. Without those it still answers, wrongly.
const (
	rate           = 16000 // Hz
	windowSamples  = 512
	contextSamples = 64
	rowSamples     = contextSamples + windowSamples
	stateSize      = 128 // of the LSTM's hidden and cell state
)

// windowsPerRun is how many windows one run of the model takes: 4.1 s of
// audio, some 4 ms. More is not faster, and a run stops only between nodes.
const windowsPerRun = 128

// Answer is what speech-detect answers, in seconds.
type Answer struct {
	Duration float64   `json:"duration"`
	Segments []Segment `json:"segments"`
}

// Segment is a stretch of speech.
type Segment struct {
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	Score float64 `json:"score"` // the mean probability of its windows, 0 to 1
}

// Codec detects speech. The zero Codec is ready.
type Codec struct{}

// New makes the codec.
func New() *Codec { return &Codec{} }

// Answer implements serve.Codec: the payload is a WAV, or {"audio": SOURCE}.
func (*Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	file := in.Body
	if payload.IsJSON(in) {
		var form struct {
			Audio payload.Source `json:"audio"`
		}
		err := payload.Decode(in, &form)
		if err != nil {
			return nil, err
		}
		if file, err = form.Audio.Bytes(ctx, in); err != nil {
			return nil, err
		}
	}
	w, err := audio.ParseWAV("audio", file)
	if err != nil {
		return nil, err
	}
	mono, length, err := at16kHz(ctx, w, in)
	if err != nil {
		return nil, err
	}
	probabilities, err := listen(ctx, mono, model)
	if err != nil {
		return nil, err
	}
	return answer(w.Seconds(), length, probabilities), nil
}

// at16kHz gives the WAV as 16 kHz mono, and how many samples that is.
func at16kHz(ctx context.Context, w *audio.WAV, in serve.Payload) (audio.Samples, int64, error) {
	if w.Rate == rate {
		return w, w.Frames, nil
	}
	if in.Reserve != nil {
		if err := in.Reserve(ctx, audio.ResamplerBytes(w.Rate, rate)); err != nil {
			return nil, 0, err
		}
	}
	r := audio.NewResampler(w, w.Rate, rate, w.Frames)
	return r, r.Frames(), nil
}

// listen runs the model over the stream and returns each window's probability
// of speech. The last window is filled up with silence.
func listen(ctx context.Context, src audio.Samples, model serve.Runner) ([]float32, error) {
	var (
		// A row is the end of the window before it, and its own window.
		tail   = make([]float32, contextSamples)
		pcm    = make([]float32, windowSamples*windowsPerRun)
		hidden = make([]float32, stateSize)
		cell   = make([]float32, stateSize)
		found  []float32
	)
	for {
		n, err := audio.ReadFull(src, pcm)
		if n == 0 {
			return found, err
		}
		if err != nil {
			return nil, err
		}
		windows := (n + windowSamples - 1) / windowSamples
		clear(pcm[n : windows*windowSamples])

		out, err := model.Run(ctx, []infer.Tensor{
			infer.NewTensor("input", []int64{int64(windows), rowSamples}, rows(tail, pcm, windows)),
			infer.NewTensor("h", []int64{1, 1, stateSize}, hidden),
			infer.NewTensor("c", []int64{1, 1, stateSize}, cell),
		})
		if err != nil {
			return nil, err
		}
		if found, err = take(found, windows, out, &hidden, &cell); err != nil {
			return nil, err
		}
		copy(tail, pcm[windows*windowSamples-contextSamples:])
	}
}

// rows lays out the model's input of one run.
func rows(tail, pcm []float32, windows int) []float32 {
	data := make([]float32, 0, rowSamples*windows)
	data = append(append(data, tail...), pcm[:windowSamples]...)
	for w := 1; w < windows; w++ {
		data = append(data, pcm[w*windowSamples-contextSamples:(w+1)*windowSamples]...)
	}
	return data
}

// take appends a run's probabilities to found, and carries the state over.
func take(found []float32, windows int, out []infer.Tensor, hidden, cell *[]float32) ([]float32, error) {
	seen := 0
	for i := range out {
		values, err := infer.Values[float32](&out[i])
		switch name := out[i].Name; {
		case err != nil:
			return nil, fmt.Errorf("read the model's answer: %w", err)
		case name == "speech_probs" && len(values) == windows:
			found = append(found, values...)
		case name == "hn" && len(values) == stateSize:
			*hidden = values
		case name == "cn" && len(values) == stateSize:
			*cell = values
		default:
			continue
		}
		seen++
	}
	if seen != 3 {
		return nil, problem.New(problem.ModelUnavailable, "the model of speech-detect is not silero-vad's sequence model: expected the outputs speech_probs, hn and cn")
	}
	return found, nil
}

// answer puts the decisions in seconds. The last sample at 16 kHz may lie just
// past the recording's own end.
func answer(duration float64, length int64, probabilities []float32) *Answer {
	a := &Answer{Duration: duration, Segments: []Segment{}}
	for _, s := range segments(probabilities, length) {
		a.Segments = append(a.Segments, Segment{
			Start: float64(s.start) / rate,
			End:   min(float64(s.end)/rate, duration),
			Score: s.score,
		})
	}
	return a
}
