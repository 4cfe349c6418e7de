package speechdetect

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/modelserveai/modelserve/internal/problem"
)

// Bounds on what a WAV may hold. Its bytes are bounded before it comes here.
const (
	maxChannels = 64
	maxRate     = 384_000 // Hz
	maxSeconds  = 3600
)

// maxSample bounds the magnitude of float samples. Full scale is 1; files
// scaled like 16-bit integers exist, anything beyond is no audio.
const maxSample = 1 << 16

// Format tags of the fmt chunk.
const (
	formatPCM        = 0x0001
	formatFloat      = 0x0003
	formatExtensible = 0xFFFE
)

// wav is the layout of a WAVE file's samples and the samples still to be read.
type wav struct {
	rate     int // frames per second
	channels int
	bits     int // per sample and channel, as stored
	float    bool

	frames int64  // in all
	data   []byte // whole frames not read yet
	read   int64  // frames read
}

// refuse makes the error of a WAV that is not what it should be.
func refuse(format string, args ...any) error {
	return problem.Invalid("audio", format, args...)
}

// parseWAV reads the chunks of a RIFF/WAVE file: linear PCM of 8, 16, 24 and
// 32 bits and IEEE float of 32 and 64 bits, plain or WAVE_FORMAT_EXTENSIBLE.
// It keeps pointing into file and copies nothing.
//
// A size that announces more than the file holds is refused, but for the
// placeholders of writers that stream: 0xFFFFFFFF (FFmpeg), 0x7FFFF000 (SoX,
// eSpeak) and a zero in both places mean "to the end".
//
// Multimedia Programming Interface and Data Specifications 1.0 (IBM and
// Microsoft, 1991), and Microsoft's "Multiple Channel Audio Data and WAVE
// Files" (2007) for the extensible form.
func parseWAV(file []byte) (*wav, error) {
	switch {
	case len(file) == 0:
		return nil, refuse("is empty; expected a WAV file")
	case bytes.HasPrefix(file, []byte("RF64")), bytes.HasPrefix(file, []byte("RIFX")), bytes.HasPrefix(file, []byte("BW64")):
		return nil, refuse("is a %s file; expected RIFF/WAVE", file[:4])
	case !bytes.HasPrefix(file, []byte("RIFF")):
		return nil, refuse("is no WAV file: it does not begin with RIFF")
	case len(file) < 12:
		return nil, refuse("is cut off within its RIFF header, after %d bytes", len(file))
	case !bytes.Equal(file[8:12], []byte("WAVE")):
		return nil, refuse("is a RIFF file of type %q; expected WAVE", file[8:12])
	}
	riff := binary.LittleEndian.Uint32(file[4:8])
	end := int64(len(file))
	if !placeholder(riff) {
		// What follows the announced end is not ours (tags are often appended).
		announced := int64(riff) + 8
		// The last chunk's pad byte is often counted but not written.
		if announced > end+1 {
			return nil, refuse("announces %d bytes in its RIFF header, but is %d long", announced, end)
		}
		end = max(min(announced, end), 12)
	}
	return parseChunks(file[12:end], riff == 0)
}

// placeholder reports whether a size stands for "not known when written".
func placeholder(size uint32) bool {
	return size == 0 || size == 0xFFFFFFFF || size&^0xFFF == 0x7FFFF000
}

// parseChunks walks the chunks behind the RIFF header until the data chunk.
// streamed says that the header gave no size.
func parseChunks(rest []byte, streamed bool) (*wav, error) {
	var w *wav
	for {
		if len(rest) < 8 {
			if w == nil {
				return nil, refuse("has no fmt chunk")
			}
			return nil, refuse("has no data chunk")
		}
		id, size := string(rest[:4]), binary.LittleEndian.Uint32(rest[4:8])
		rest = rest[8:]
		if id == "data" {
			if w == nil {
				return nil, refuse("has its data chunk before its fmt chunk")
			}
			return w, w.setData(rest, size, streamed)
		}
		if int64(size) > int64(len(rest)) {
			return nil, refuse("announces %d bytes in its %q chunk, but %d follow", size, id, len(rest))
		}
		if id == "fmt " {
			if w != nil {
				return nil, refuse("has two fmt chunks")
			}
			var err error
			if w, err = parseFormat(rest[:size]); err != nil {
				return nil, err
			}
		}
		// Chunks begin at even offsets.
		rest = rest[min(int64(len(rest)), int64(size)+int64(size&1)):]
	}
}

// parseFormat reads a fmt chunk.
func parseFormat(c []byte) (*wav, error) {
	if len(c) < 16 {
		return nil, refuse("has a fmt chunk of %d bytes; expected 16 or more", len(c))
	}
	tag := binary.LittleEndian.Uint16(c)
	w := &wav{
		channels: int(binary.LittleEndian.Uint16(c[2:])),
		bits:     int(binary.LittleEndian.Uint16(c[14:])),
	}
	rate := binary.LittleEndian.Uint32(c[4:])
	align := int(binary.LittleEndian.Uint16(c[12:]))
	if tag == formatExtensible {
		if len(c) < 40 {
			return nil, refuse("has an extensible fmt chunk of %d bytes; expected 40", len(c))
		}
		// KSDATAFORMAT_SUBTYPE_*: the format tag, then a fixed tail.
		if string(c[26:40]) != "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71" {
			return nil, refuse("has the unknown sub-format %x; expected PCM or IEEE float", c[24:40])
		}
		tag = binary.LittleEndian.Uint16(c[24:])
	}
	switch {
	case tag != formatPCM && tag != formatFloat:
		return nil, refuse("has samples of format %#04x; expected PCM (1) or IEEE float (3)", tag)
	case tag == formatPCM && w.bits != 8 && w.bits != 16 && w.bits != 24 && w.bits != 32:
		return nil, refuse("has PCM samples of %d bits; expected 8, 16, 24 or 32", w.bits)
	case tag == formatFloat && w.bits != 32 && w.bits != 64:
		return nil, refuse("has float samples of %d bits; expected 32 or 64", w.bits)
	case w.channels < 1 || w.channels > maxChannels:
		return nil, refuse("has %d channels; expected 1 to %d", w.channels, maxChannels)
	case rate < 1 || rate > maxRate:
		return nil, refuse("has a sample rate of %d Hz; expected 1 to %d", rate, maxRate)
	case align != w.channels*w.bits/8:
		return nil, refuse("has frames of %d bytes by its header; %d channels of %d bits take %d", align, w.channels, w.bits, w.channels*w.bits/8)
	}
	w.rate, w.float = int(rate), tag == formatFloat
	return w, nil
}

// setData takes the samples: rest is all that follows the data chunk's header,
// size what that header announces.
func (w *wav) setData(rest []byte, size uint32, streamed bool) error {
	frame := w.channels * w.bits / 8
	if placeholder(size) && (size != 0 || streamed) {
		rest = rest[:len(rest)/frame*frame] // the writer may have been cut off
	} else {
		if int64(size) > int64(len(rest)) {
			return refuse("announces %d bytes of samples, but %d follow", size, len(rest))
		}
		if int64(size)%int64(frame) != 0 {
			return refuse("announces %d bytes of samples, which is no multiple of its %d byte frames", size, frame)
		}
		rest = rest[:size]
	}
	w.data, w.frames = rest, int64(len(rest)/frame)
	if w.frames > maxSeconds*int64(w.rate) {
		return &problem.Error{
			Code:   problem.PayloadTooLarge,
			Detail: "audio: is longer than an hour; split it",
			Fields: []problem.Field{{Field: "audio", Detail: "expected at most 3600 seconds"}},
		}
	}
	return nil
}

// duration is the length of the audio in seconds.
func (w *wav) duration() float64 { return float64(w.frames) / float64(w.rate) }

// Read fills dst with the next frames, each the mean of its channels, in
// [-1, 1] at full scale. At the end it returns 0 and io.EOF.
func (w *wav) Read(dst []float32) (int, error) {
	width := w.bits / 8
	frame := width * w.channels
	n := min(len(dst), len(w.data)/frame)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		var sum float64
		for c := range w.channels {
			sum += sample(w.data[i*frame+c*width:][:width], w.float)
		}
		// NaN fails the comparison, too.
		if !(math.Abs(sum) <= maxSample*float64(w.channels)) {
			return 0, refuse("has a sample that is not finite or far out of range in frame %d; expected floats between -1 and 1", w.read+int64(i))
		}
		dst[i] = float32(sum / float64(w.channels))
	}
	w.data = w.data[n*frame:]
	w.read += int64(n)
	return n, nil
}

// sample decodes one little-endian sample; its length is its width.
func sample(b []byte, float bool) float64 {
	switch len(b) {
	case 1: // the only unsigned one
		return (float64(b[0]) - 128) / 128
	case 2:
		return float64(int16(binary.LittleEndian.Uint16(b))) / (1 << 15)
	case 3:
		return float64(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)) / (1 << 31)
	case 4:
		if float {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
		return float64(int32(binary.LittleEndian.Uint32(b))) / (1 << 31)
	default:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}
