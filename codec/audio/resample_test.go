package audio

import (
	"fmt"
	"io"
	"math"
	"testing"
)

// to is the rate that the tests resample to, in Hz.
const to = 16000

// sine is a stream of n samples of a sine; it reads in odd portions.
type sine struct {
	hz, rate float64
	at, n    int
}

func (s *sine) Read(dst []float32) (int, error) {
	n := min(len(dst), s.n-s.at, 1001)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		dst[i] = float32(math.Sin(2 * math.Pi * s.hz * float64(s.at) / s.rate))
		s.at++
	}
	return n, nil
}

func TestResampleSine(t *testing.T) {
	t.Parallel()
	for _, from := range []int{8000, 11025, 12000, 15999, 16001, 22050, 24000, 32000, 44100, 48000, 96000, 192000, 384000} {
		t.Run(fmt.Sprint(from), func(t *testing.T) {
			t.Parallel()
			frames := from / 2 // half a second
			r := NewResampler(&sine{hz: 440, rate: float64(from), n: frames}, from, to, int64(frames))
			got := make([]float32, to)
			n, err := ReadFull(r, got)
			if want := (frames*to + from - 1) / from; err != nil || n != want {
				t.Fatalf("%d samples, want %d: %v", n, want, err)
			}
			for i := 100; i < n-100; i++ { // the ends meet silence
				want := math.Sin(2 * math.Pi * 440 * float64(i) / to)
				if d := math.Abs(float64(got[i]) - want); d > 5e-3 {
					t.Fatalf("sample %d is %v, want %v", i, got[i], want)
				}
			}
		})
	}
}

func TestResampleKeepsOutAliases(t *testing.T) {
	t.Parallel()
	// 11 kHz at 44.1 kHz would come back as 5 kHz at 16 kHz.
	r := NewResampler(&sine{hz: 11000, rate: 44100, n: 44100}, 44100, to, 44100)
	got := make([]float32, to)
	n, err := ReadFull(r, got)
	if err != nil {
		t.Fatal(err)
	}
	var power float64
	for _, s := range got[100 : n-100] {
		power += float64(s) * float64(s)
	}
	if rms := math.Sqrt(power / float64(n-200)); rms > 4e-3 { // 45 dB below
		t.Errorf("an alias of %.5f is left", rms)
	}
}

func TestResampleBySmallSteps(t *testing.T) {
	t.Parallel()
	whole, steps := make([]float32, 5000), make([]float32, 5000)
	for _, tc := range []struct {
		dst  []float32
		step int
	}{{whole, 5000}, {steps, 7}} {
		r := NewResampler(&sine{hz: 300, rate: 44100, n: 9999}, 44100, to, 9999)
		for at := 0; at < len(tc.dst); {
			n, err := r.Read(tc.dst[at:min(at+tc.step, len(tc.dst))])
			at += n
			if err != nil {
				break
			}
		}
	}
	for i := range whole {
		if whole[i] != steps[i] {
			t.Fatalf("sample %d is %v in one go and %v by steps", i, whole[i], steps[i])
		}
	}
}

func TestResamplerBytes(t *testing.T) {
	t.Parallel()
	for from, want := range map[int]int64{44100: 160 * (34*4 + 8), 8000: 2 * (13*4 + 8), maxRate - 1: 16000 * (291*4 + 8)} {
		if got := ResamplerBytes(from, to); got != want {
			t.Errorf("%d Hz: %d bytes, want %d", from, got, want)
		}
	}
}

func BenchmarkResample(b *testing.B) {
	in := make([]float32, 44100)
	out := make([]float32, to)
	b.SetBytes(int64(4 * len(in)))
	for b.Loop() {
		r := NewResampler(&constant{in}, 44100, to, int64(len(in)))
		if _, err := ReadFull(r, out); err != nil {
			b.Fatal(err)
		}
	}
}

type constant struct{ rest []float32 }

func (c *constant) Read(dst []float32) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(dst, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
