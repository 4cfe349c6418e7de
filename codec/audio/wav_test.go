package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// header describes a WAV for a test; size and riff replace the true lengths.
type header struct {
	tag, channels, bits uint16
	rate                uint32
	align               uint16
	data                []byte
	size, riff          *uint32
	large               *uint64 // the size in a ds64 chunk: RF64
	before              string  // chunks between fmt and data
	extensible          bool
	subFormat           string
}

func (h header) bytes() []byte {
	le := binary.LittleEndian
	tag := h.tag
	if h.extensible {
		tag = formatExtensible
	}
	align := h.align
	if align == 0 {
		align = h.channels * h.bits / 8
	}
	f := le.AppendUint16(nil, tag)
	f = le.AppendUint16(f, h.channels)
	f = le.AppendUint32(f, h.rate)
	f = le.AppendUint32(f, h.rate*uint32(align))
	f = le.AppendUint16(f, align)
	f = le.AppendUint16(f, h.bits)
	if h.extensible {
		f = append(f, 22, 0, byte(h.bits), 0, 0, 0, 0, 0)
		if h.subFormat == "" {
			f = append(le.AppendUint16(f, h.tag), "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
		}
		f = append(f, h.subFormat...)
	}
	form, body := "RIFF", []byte("WAVE")
	if h.large != nil {
		form = "RF64"
		body = append(body, "ds64\x1c\x00\x00\x00"...)
		body = le.AppendUint64(le.AppendUint64(le.AppendUint64(body, 0), *h.large), 0)
		body = le.AppendUint32(body, 0)
	}
	body = append(le.AppendUint32(append(body, "fmt "...), uint32(len(f))), f...)
	body = append(append(body, h.before...), "data"...)
	size := uint32(len(h.data))
	if h.size != nil {
		size = *h.size
	}
	body = append(le.AppendUint32(body, size), h.data...)
	riff := uint32(len(body))
	if h.riff != nil {
		riff = *h.riff
	}
	return append(le.AppendUint32([]byte(form), riff), body...)
}

func TestSamples(t *testing.T) {
	t.Parallel()
	f32 := func(v ...float32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	f64 := func(v ...float64) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
		return b
	}
	for name, tc := range map[string]struct {
		h    header
		want []float32
	}{
		"8 bits are unsigned": {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{0, 128, 192}}, []float32{-1, 0, 0.5}},
		"16 bits":             {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x80, 0, 0, 0, 0x40}}, []float32{-1, 0, 0.5}},
		"24 bits":             {header{tag: 1, channels: 1, bits: 24, rate: 8000, data: []byte{0, 0, 0x80, 0, 0, 0, 0, 0, 0x40}}, []float32{-1, 0, 0.5}},
		"32 bits":             {header{tag: 1, channels: 1, bits: 32, rate: 8000, data: []byte{0, 0, 0, 0x80, 0, 0, 0, 0x40}}, []float32{-1, 0.5}},
		"32 bit float":        {header{tag: 3, channels: 1, bits: 32, rate: 8000, data: f32(-1, 0.25)}, []float32{-1, 0.25}},
		"64 bit float":        {header{tag: 3, channels: 1, bits: 64, rate: 8000, data: f64(-1, 0.25)}, []float32{-1, 0.25}},
		"extensible PCM":      {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, extensible: true}, []float32{0.5}},
		"extensible float":    {header{tag: 3, channels: 1, bits: 32, rate: 8000, data: f32(0.5), extensible: true}, []float32{0.5}},
		"stereo is averaged":  {header{tag: 3, channels: 2, bits: 32, rate: 8000, data: f32(1, 0, -1, 1)}, []float32{0.5, 0}},
		"a chunk of odd size": {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, before: "LIST\x03\x00\x00\x00abc\x00"}, []float32{0.5}},
		"no samples":          {header{tag: 1, channels: 1, bits: 8, rate: 8000}, nil},
		"streamed by FFmpeg":  {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(0xFFFFFFFF))}, []float32{0.5}},
		"streamed by SoX":     {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, size: new(uint32(0x7FFFF000)), riff: new(uint32(0x7FFFF024))}, []float32{0.5}},
		"streamed, zeros":     {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, size: new(uint32(0)), riff: new(uint32(0))}, []float32{0.5}},
		"streamed, cut off":   {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 7}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(0))}, []float32{0.5}},
		"bytes behind":        {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192, 'i', 'd', '3'}, size: new(uint32(1))}, []float32{0.5}},
		// What SoX and arecord write when they stream, for frames of each size.
		"SoX, 3 byte frames":   {header{tag: 1, channels: 1, bits: 24, rate: 8000, data: []byte{0, 0, 0x40}, size: new(uint32(0x7FFFEFFF)), riff: new(uint32(0x7FFFF023))}, []float32{0.5}},
		"SoX, 6 byte frames":   {header{tag: 1, channels: 3, bits: 16, rate: 8000, data: []byte{0, 0x40, 0, 0x40, 0, 0x40}, size: new(uint32(0x7FFFEFFC))}, []float32{0.5}},
		"streamed by arecord":  {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0x80000000)), riff: new(uint32(0x80000024))}, []float32{0.5}},
		"the header taken off": {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0xFFFFFFDB)), riff: new(uint32(0xFFFFFFFF))}, []float32{0.5}},
		"the header added":     {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(35))}, []float32{0.5}},
		"the least of these":   {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0x7FFFE000)), riff: new(uint32(0x7FFFE024))}, []float32{0.5}},
		"a recorder that died": {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 0, 0x40, 0, 0x40, 0, 0x40, 0, 0x40}, size: new(uint32(0)), riff: new(uint32(36))}, []float32{0.5, 0.5, 0.5, 0.5, 0.5}},
		"another, streaming":   {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0)), riff: new(uint32(0xFFFFFFFF))}, []float32{0.5}},
		"empty, with a list":   {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte("LIST\x04\x00\x00\x00INFO"), size: new(uint32(0))}, nil},
		"empty, with a tag":    {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte("ID3\x04\x00\x00\x00\x00\x00\x00"), size: new(uint32(0)), riff: new(uint32(36))}, nil},
		"a tag behind":         {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 'T', 'A', 'G'}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(38))}, []float32{0.5}},
		"no tag behind":        {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 0, 0x40}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(38))}, []float32{0.5, 0.5}},
		"silence behind":       {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 0, 0}, size: new(uint32(0xFFFFFFFF)), riff: new(uint32(38))}, []float32{0.5, 0}},
		"a list behind":        {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte("\x00\x40LIST\x04\x00\x00\x00INFO"), size: new(uint32(0xFFFFFFFF)), riff: new(uint32(38))}, []float32{0.5}},
		"a RIFF that is short": {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, riff: new(uint32(40))}, []float32{0.5}},
		"a RIFF that is long":  {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, riff: new(uint32(1 << 30))}, []float32{0.5}},
		"a RIFF of nothing":    {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, riff: new(uint32(0))}, []float32{0.5}},
		"a pad byte, counted":  {header{tag: 1, channels: 1, bits: 24, rate: 8000, data: []byte{0, 0, 0x40, 0}}, []float32{0.5}},
		"counted, not written": {header{tag: 1, channels: 1, bits: 24, rate: 8000, data: []byte{0, 0, 0x40}, size: new(uint32(4))}, []float32{0.5}},
		"no pad byte":          {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, before: "LIST\x03\x00\x00\x00abc"}, []float32{0.5}},
		"RF64":                 {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40, 7, 7}, size: new(uint32(0xFFFFFFFF)), large: new(uint64(2))}, []float32{0.5}},
		"RF64, streamed":       {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0xFFFFFFFF)), large: new(uint64(0))}, []float32{0.5}},
		"RF64, never ended":    {header{tag: 1, channels: 1, bits: 16, rate: 8000, data: []byte{0, 0x40}, size: new(uint32(0xFFFFFFFF)), large: new(uint64(math.MaxUint64))}, []float32{0.5}},
		"pad byte not there":   {header{tag: 1, channels: 1, bits: 8, rate: 8000, data: []byte{192}, riff: new(uint32(4 + 24 + 8 + 2))}, []float32{0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, err := ParseWAV("audio", tc.h.bytes())
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float32, 16)
			n, err := ReadFull(w, got)
			if err != nil || n != len(tc.want) || int64(n) != w.Frames {
				t.Fatalf("read %d of %d samples: %v", n, w.Frames, err)
			}
			for i, want := range tc.want {
				if got[i] != want {
					t.Errorf("sample %d is %v, want %v", i, got[i], want)
				}
			}
			if n, err := w.Read(got); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %d, %v", n, err)
			}
		})
	}
}

func TestBadWAV(t *testing.T) {
	t.Parallel()
	good := header{tag: 1, channels: 1, bits: 16, rate: 8000, data: make([]byte, 100)}
	with := func(change func(*header)) []byte {
		h := good
		change(&h)
		return h.bytes()
	}
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":                       {nil, "is empty"},
		"no WAV":                        {[]byte("\x89PNG\r\n\x1a\n...."), "does not begin with RIFF"},
		"RF64 with nothing in it":       {[]byte("RF64\xff\xff\xff\xffWAVE"), "has no fmt chunk"},
		"big-endian":                    {[]byte("RIFX\x00\x00\x00\x04WAVE"), "big-endian WAV file (RIFX)"},
		"FLAC":                          {[]byte("fLaC\x00\x00\x00\x22"), "it is FLAC"},
		"an MP3":                        {[]byte("ID3\x04\x00\x00\x00\x00"), "it is MP3"},
		"a phone's recording":           {[]byte("\x00\x00\x00\x18ftypM4A "), "it is MP4"},
		"another RIFF":                  {[]byte("RIFF\x04\x00\x00\x00AVI "), `of type "AVI "`},
		"cut off in the header":         {[]byte("RIFF\x04\x00"), "cut off"},
		"nothing in it":                 {[]byte("RIFF\x04\x00\x00\x00WAVE"), "has no fmt chunk"},
		"no data":                       {good.bytes()[:36], "cut off before its data chunk: its RIFF header announces 144 bytes, but it is 36 long"},
		"no data chunk":                 {with(func(h *header) { h.riff = new(uint32(28)) })[:36], "has no data chunk"},
		"data first":                    {[]byte("RIFF\x0c\x00\x00\x00WAVEdata\x00\x00\x00\x00"), "before its fmt chunk"},
		"truncated":                     {good.bytes()[:100], "cut off: it announces 100 bytes of samples, but 56 follow"},
		"a data chunk that lies":        {with(func(h *header) { h.size = new(uint32(1 << 30)) }), "announces 1073741824 bytes of samples, but 100 follow"},
		"one sample short":              {good.bytes()[:142], "cut off: it announces 100 bytes of samples, but 98 follow"},
		"one byte short":                {good.bytes()[:143], "cut off: it announces 100 bytes of samples, but 99 follow"},
		"less than a frame":             {with(func(h *header) { h.data = []byte{1} }), "1 bytes of samples, less than one frame of 2 bytes"},
		"another chunk that lies":       {with(func(h *header) { h.before = "LIST\xff\xff\xff\x0f" }), `in its "LIST" chunk`},
		"two formats":                   {with(func(h *header) { h.before = "fmt \x00\x00\x00\x00" }), "two fmt chunks"},
		"a short format":                {[]byte("RIFF\x0e\x00\x00\x00WAVEfmt \x02\x00\x00\x00\x01\x00"), "fmt chunk of 2 bytes"},
		"mu-law":                        {with(func(h *header) { h.tag, h.bits = 7, 8 }), "format 0x0007 (mu-law)"},
		"4 bits":                        {with(func(h *header) { h.bits, h.align = 4, 1 }), "PCM samples of 4 bits; expected 8 to 32"},
		"samples in two data chunks":    {with(func(h *header) { h.data, h.size = []byte("\x00\x00data\x02\x00\x00\x00\x00\x00"), new(uint32(2)) }), "in several data chunks"},
		"the second one cut off":        {with(func(h *header) { h.data, h.size = []byte("\x00\x00data\x02\x00\x00\x00"), new(uint32(2)) }), "in several data chunks"},
		"a second one to the end":       {with(func(h *header) { h.before = "data\x02\x00\x00\x00\x00\x00"; h.size = new(uint32(0xFFFFFFFF)) }), "in several data chunks"},
		"16 bit float":                  {with(func(h *header) { h.tag = 3 }), "float samples of 16 bits"},
		"no channels":                   {with(func(h *header) { h.channels, h.align = 0, 2 }), "0 channels"},
		"65535 channels":                {with(func(h *header) { h.channels, h.align = 65535, 2 }), "65535 channels"},
		"no rate":                       {with(func(h *header) { h.rate = 0 }), "rate of 0 Hz"},
		"an absurd rate":                {with(func(h *header) { h.rate = 1 << 31 }), "rate of 2147483648 Hz"},
		"frames of another size":        {with(func(h *header) { h.align = 4 }), "frames of 4 bytes"},
		"extensible, of something else": {with(func(h *header) { h.extensible, h.subFormat = true, strings.Repeat("x", 16) }), "unknown sub-format"},
		"extensible, too short":         {with(func(h *header) { h.extensible, h.subFormat = true, "x" }), "extensible fmt chunk of 25 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseWAV("audio", tc.file)
			p := problem.From(err)
			if err == nil || p.Code != problem.InvalidArgument || len(p.Fields) != 1 || p.Fields[0].Field != "audio" {
				t.Fatalf("got %#v, want a problem with audio", p)
			}
			if !strings.Contains(p.Detail, tc.want) {
				t.Errorf("%q does not say %q", p.Detail, tc.want)
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	h := header{tag: 1, channels: 1, bits: 8, rate: 1, data: make([]byte, 3601)}
	if _, err := ParseWAV("audio", h.bytes()); problem.CodeOf(err) != problem.PayloadTooLarge {
		t.Errorf("more than an hour: %v", err)
	}
	h.data = h.data[:3600]
	if _, err := ParseWAV("audio", h.bytes()); err != nil {
		t.Errorf("an hour: %v", err)
	}
}

func TestSamplesOutOfRange(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]float64{"NaN": math.NaN(), "infinite": math.Inf(-1), "huge": 1e300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := binary.LittleEndian.AppendUint64(make([]byte, 16), math.Float64bits(v))
			w, err := ParseWAV("audio", header{tag: 3, channels: 1, bits: 64, rate: 8000, data: data}.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if _, err = w.Read(make([]float32, 3)); problem.CodeOf(err) != problem.InvalidArgument || !strings.Contains(err.Error(), "frame 2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzWAV(f *testing.F) {
	files, err := filepath.Glob("../../functions/speech-detect/testdata/*.wav")
	if err != nil || len(files) == 0 {
		f.Fatal("no recordings: ", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 512)])
	}
	for name := range oddFiles(f) {
		file, err := os.ReadFile(filepath.Join(odd, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add(header{tag: 3, channels: 2, bits: 64, rate: 44099, data: bytes.Repeat([]byte{0, 1}, 80), extensible: true}.bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		w, err := ParseWAV("audio", file)
		if err != nil {
			if code := problem.CodeOf(err); code != problem.InvalidArgument && code != problem.PayloadTooLarge {
				t.Fatalf("a bad file is not the caller's fault: %v", err)
			}
			return
		}
		buf := make([]float32, 4096)
		var read int64
		for {
			n, err := w.Read(buf)
			read += int64(n)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
		}
		if read != w.Frames || read > int64(len(file)) {
			t.Fatalf("%d frames announced, %d read out of %d bytes", w.Frames, read, len(file))
		}
	})
}
