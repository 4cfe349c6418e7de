package audio

import (
	"errors"
	"io"
	"math"
)

// Samples is a stream of mono samples. Read fills what it can of dst and
// returns how much; 0 and io.EOF at the end.
type Samples interface {
	Read(dst []float32) (int, error)
}

// The filter: a sinc cut off by a Hann window after six zero crossings on each
// side, its pass band ending at 0.99 of the lower Nyquist frequency. These are
// the defaults of torchaudio.transforms.Resample, with which silero-vad reads
// files of other rates.
const (
	zeroCrossings = 6
	rolloff       = 0.99
)

// Resampler changes the rate of a stream by band-limited interpolation: each
// output is the input convolved with a windowed sinc at that output's instant
// (J. O. Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/).
// The ratio is rational, so the filters repeat and are computed once, one for
// each of the `to` phases. Its memory does not grow with the stream.
type Resampler struct {
	src      Samples
	from, to int64 // the rates, without their common divisor
	total    int64 // samples that will come out

	taps    int
	weights []float32 // taps for each phase
	first   []int64   // each phase's first input, from the input at phase 0

	out    int64     // the next output
	window []float32 // inputs at hand
	base   int64     // which input window[0] is; before 0 and past the end are zeros
}

// ResamplerBytes is the memory that a Resampler between two rates takes, for a
// codec to reserve before it makes one.
func ResamplerBytes(from, to int) int64 {
	f, t := reduce(from, to)
	return t * (int64(tapCount(f, t))*4 + 8)
}

func reduce(from, to int) (f, t int64) {
	a, b := from, to
	for b != 0 {
		a, b = b, a%b
	}
	return int64(from / a), int64(to / a)
}

// halfWidth is how far the filter reaches to each side, in inputs.
func halfWidth(from, to int64) float64 {
	return zeroCrossings * float64(from) / (float64(min(from, to)) * rolloff)
}

func tapCount(from, to int64) int { return int(2*halfWidth(from, to)) + 1 }

// NewResampler makes a stream of to Hz out of one of from Hz that holds frames
// samples. It gives ⌈frames·to/from⌉.
func NewResampler(src Samples, from, to int, frames int64) *Resampler {
	f, t := reduce(from, to)
	r := &Resampler{src: src, from: f, to: t, total: (frames*t + f - 1) / f, taps: tapCount(f, t)}
	r.weights = make([]float32, int(t)*r.taps)
	r.first = make([]int64, t)
	reach := halfWidth(f, t)
	cutoff := float64(min(f, t)) * rolloff
	for phase := range t {
		at := float64(phase) * float64(f) / float64(t) // in inputs
		r.first[phase] = int64(math.Ceil(at - reach))
		for k := range r.taps {
			// x is in zero crossings, so the sinc is sin(πx)/πx.
			x := (float64(r.first[phase]+int64(k)) - at) * cutoff / float64(f)
			if math.Abs(x) >= zeroCrossings {
				continue
			}
			w := math.Cos(x*math.Pi/zeroCrossings/2) * math.Cos(x*math.Pi/zeroCrossings/2) * cutoff / float64(f)
			if x != 0 {
				w *= math.Sin(x*math.Pi) / (x * math.Pi)
			}
			r.weights[int(phase)*r.taps+k] = float32(w)
		}
	}
	r.base = r.first[0]
	r.window = make([]float32, -r.base, r.taps+4096)
	return r
}

// Frames is how many samples come out in all.
func (r *Resampler) Frames() int64 { return r.total }

// Read implements Samples.
func (r *Resampler) Read(dst []float32) (int, error) {
	n := int(min(int64(len(dst)), r.total-r.out))
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		phase := r.out % r.to
		start := r.out/r.to*r.from + r.first[phase]
		if start+int64(r.taps) > r.base+int64(len(r.window)) {
			if err := r.fill(start); err != nil {
				return 0, err
			}
		}
		in := r.window[start-r.base:][:r.taps]
		var sum float32
		for k, w := range r.weights[int(phase)*r.taps:][:r.taps] {
			sum += w * in[k]
		}
		dst[i] = sum
		r.out++
	}
	return n, nil
}

// fill drops the inputs before start and reads until a filter's length is at
// hand, with zeros past the end.
func (r *Resampler) fill(start int64) error {
	for skip := start - r.base; ; skip = start - r.base {
		skip = min(skip, int64(len(r.window)))
		r.window = r.window[:copy(r.window, r.window[skip:])]
		r.base += skip
		if r.base == start && len(r.window) >= r.taps {
			return nil
		}
		n, err := r.src.Read(r.window[len(r.window):cap(r.window)])
		r.window = r.window[:len(r.window)+n]
		if err == io.EOF { //nolint:errorlint // Samples return it bare, as io.Reader does
			held := len(r.window)
			r.window = r.window[:cap(r.window)]
			clear(r.window[held:])
			continue
		}
		if err != nil {
			return err
		}
	}
}

// ReadFull reads until dst is full or the stream ends, and returns how much it
// read; the end is no error.
func ReadFull(src Samples, dst []float32) (int, error) {
	n := 0
	for n < len(dst) {
		m, err := src.Read(dst[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
