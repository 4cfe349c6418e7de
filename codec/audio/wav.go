// Package audio reads recordings for a model: WAV files, as a stream of mono
// samples whose memory does not grow with the recording, and the change of their
// rate.
//
// It knows no container but WAV, no compressed coding, and writes nothing.
package audio

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/modelserveai/modelserve/problem"
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

// WAV is a WAVE file's samples, read as a stream of mono: it is Samples.
type WAV struct {
	Rate     int   // frames per second, Hz
	Channels int   // as stored; Read gives their mean
	Frames   int64 // in all: samples of each channel

	field field
	bits  int // per sample and channel, as stored: whole bytes
	float bool
	data  []byte // whole frames not read yet
	read  int64  // frames read
}

// coding names the formats that people meet, in parentheses (RFC 2361).
func coding(tag uint16) string {
	name := map[uint16]string{
		0x0002: "Microsoft ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0031: "GSM 6.10",
		0x0040: "G.721 ADPCM", 0x0050: "MPEG", 0x0055: "MP3", 0x00FF: "AAC", 0x1610: "AAC", 0x2000: "AC-3", 0x674F: "Vorbis", 0xF1AC: "FLAC",
	}[tag]
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

// otherAudio names the format of a file that is no WAV.
func otherAudio(file []byte) string {
	if text := bytes.TrimLeft(file[:min(len(file), 64)], " \t\r\n\ufeff"); len(text) > 0 && text[0] == '{' {
		return "is JSON, which is read with the content type application/json"
	}
	for _, known := range []struct {
		at          int
		magic, name string
	}{
		{0, "fLaC", "FLAC"},
		{0, "OggS", "Ogg"},
		{0, "ID3", "MP3"},
		{0, "\xff\xfb", "MP3"},
		{0, "\xff\xf3", "MP3"},
		{0, "\xff\xf1", "AAC"},
		{0, "FORM", "AIFF"},
		{4, "ftyp", "MP4"},
		{0, "\x1a\x45\xdf\xa3", "WebM or Matroska"},
		{0, "caff", "CAF"},
		{0, ".snd", "AU"},
		{0, "#!AMR", "AMR"},
		{0, "riff\x2e\x91\xcf\x11", "Wave64"},
	} {
		if len(file) >= known.at && bytes.HasPrefix(file[known.at:], []byte(known.magic)) {
			return "is " + known.name
		}
	}
	return "does not begin with RIFF"
}

// behindID3 is a file without the ID3v2 tag before it, which some programs put
// before any audio (id3.org, ID3v2.4.0, 3.1).
func behindID3(file []byte) []byte {
	const head = 10
	if len(file) < head || !bytes.HasPrefix(file, []byte("ID3")) {
		return file
	}
	size := head
	for i, b := range file[6:head] {
		size += int(b&0x7f) << (7 * (3 - i))
	}
	if behind := file[min(size, len(file)):]; bytes.HasPrefix(behind, []byte("RIFF")) {
		return behind
	}
	return file
}

// field is what errors call the file.
type field string

// refuse makes the error of a WAV that is not what it should be.
func (f field) refuse(format string, args ...any) error {
	return problem.Invalid(string(f), format, args...)
}

// unknownSize is from where on a size of 32 bits means only "not known
// when written": no body of 2 GiB can be sent. Writers that stream put there
// 0xFFFFFFFF (FFmpeg), 0x80000000 (arecord), 0x7FFFF000 rounded down to whole
// frames (SoX, eSpeak), or one of these with the header's length added or
// taken off.
const unknownSize = 0x7FFFE000

// ParseWAV reads the chunks of a RIFF/WAVE file: linear PCM of 8 to 32 bits and
// IEEE float of 32 and 64 bits, plain or WAVE_FORMAT_EXTENSIBLE; and of its
// forms for large files, RF64 and BW64. It keeps pointing into file and copies
// nothing.
//
// Errors are problems that name the field: problem.InvalidArgument for a file
// that is not such a WAV or has more than 64 channels or 384 kHz,
// problem.PayloadTooLarge for more than an hour.
//
// The samples are those that the data chunk announces, all of which have to be
// there. A size that no body can have, and a zero with samples behind it, mean
// "to the end". Chunks that are not needed, and the RIFF header's size, cannot
// fail the rest. A data chunk without samples is passed over for one that has
// some; samples in several are refused, since programs differ in what they play.
//
// Multimedia Programming Interface and Data Specifications 1.0 (IBM and
// Microsoft, 1991), Microsoft's "Multiple Channel Audio Data and WAVE Files"
// (2007) for the extensible form, and EBU Tech 3306 (2009) for RF64.
func ParseWAV(name string, file []byte) (*WAV, error) {
	field := field(name)
	file = behindID3(file)
	switch {
	case len(file) == 0:
		return nil, field.refuse("is empty; expected a WAV file")
	case bytes.HasPrefix(file, []byte("RIFX")):
		return nil, field.refuse("is a big-endian WAV file (RIFX); expected RIFF/WAVE")
	case !bytes.HasPrefix(file, []byte("RIFF")) && !isLarge(file):
		return nil, field.refuse("is no WAV file: it %s", otherAudio(file))
	case len(file) < riffHeader:
		return nil, field.refuse("is cut off within its RIFF header, after %d bytes", len(file))
	case !bytes.Equal(file[8:riffHeader], []byte("WAVE")):
		return nil, field.refuse("is a RIFF file of type %q; expected WAVE", file[8:riffHeader])
	}
	p := parser{field: field, rest: file[riffHeader:], riffEnd: int64(binary.LittleEndian.Uint32(file[4:])) + 8, length: int64(len(file))}
	return p.chunks()
}

// riffHeader and chunkHeader are their bytes.
const riffHeader, chunkHeader = 12, 8

// isLarge reports whether a file is of the kind whose sizes are in a ds64 chunk.
func isLarge(file []byte) bool {
	return bytes.HasPrefix(file, []byte("RF64")) || bytes.HasPrefix(file, []byte("BW64"))
}

// parser walks a file's chunks.
type parser struct {
	field   field
	rest    []byte
	length  int64 // of the file
	riffEnd int64 // where it ends by the RIFF header
	data64  int64 // of the data chunk, from a ds64 chunk; 0 if there is none
	w       *WAV  // once there was a fmt chunk
}

// at is how far the file has been read.
func (p *parser) at() int64 { return p.length - int64(len(p.rest)) }

// chunks walks the chunks until the data chunk.
func (p *parser) chunks() (*WAV, error) {
	for {
		if len(p.rest) < chunkHeader {
			return nil, p.missing()
		}
		id, size := string(p.rest[:4]), binary.LittleEndian.Uint32(p.rest[4:])
		p.rest = p.rest[chunkHeader:]
		if id == "data" {
			if p.w == nil {
				return nil, p.field.refuse("has its data chunk before its fmt chunk")
			}
			return p.w, p.data(size)
		}
		if int64(size) > int64(len(p.rest)) {
			return nil, p.field.refuse("announces %d bytes in its %q chunk, but %d follow", size, id, len(p.rest))
		}
		if err := p.take(id, p.rest[:size]); err != nil {
			return nil, err
		}
		p.rest = p.rest[size:]
		p.skipPad(size)
	}
}

// data takes the samples of the data chunk that announces size bytes and at
// whose beginning the parser stands, or of one behind it if it has none.
func (p *parser) data(size uint32) error {
	for {
		samples, err := p.samples(size)
		if err != nil {
			return err
		}
		p.rest = p.rest[len(samples):]
		p.skipPad(uint32(len(samples) & 1))
		next, found := p.nextData()
		switch {
		case !found:
			return p.w.setData(samples)
		case len(samples) > 0:
			return p.field.refuse("has its samples in several data chunks; expected one")
		}
		size = next
	}
}

// nextData moves on to the next data chunk that has samples. What is no chunk
// ends the search.
func (p *parser) nextData() (size uint32, found bool) {
	for len(p.rest) >= chunkHeader && isName(p.rest[:4]) {
		data := bytes.HasPrefix(p.rest, []byte("data"))
		size := binary.LittleEndian.Uint32(p.rest[4:])
		p.rest = p.rest[chunkHeader:]
		switch {
		case data && size > 0:
			return size, true
		case int64(size) > int64(len(p.rest)):
			return 0, false
		}
		p.rest = p.rest[size:]
		p.skipPad(size)
	}
	return 0, false
}

// take reads a chunk that stands before the samples.
func (p *parser) take(id string, c []byte) (err error) {
	switch id {
	case "fmt ":
		if p.w != nil {
			return p.field.refuse("has two fmt chunks")
		}
		p.w, err = p.format(c)
		return err
	case "ds64":
		if len(c) >= 16 {
			p.data64 = int64(min(binary.LittleEndian.Uint64(c[8:]), math.MaxInt64))
		}
	}
	return nil
}

// skipPad skips the byte that brings the next chunk to an even offset. Some
// writers leave it out.
func (p *parser) skipPad(size uint32) {
	if size&1 == 0 || len(p.rest) == 0 {
		return
	}
	for _, id := range []string{"fmt ", "data"} {
		if bytes.HasPrefix(p.rest, []byte(id)) {
			return
		}
	}
	p.rest = p.rest[1:]
}

// missing is the error that names the chunk that is not there, and whether the
// file is cut off.
func (p *parser) missing() error {
	what := "data"
	if p.w == nil {
		what = "fmt"
	}
	if p.riffEnd > p.length && p.riffEnd < unknownSize {
		return p.field.refuse("is cut off before its %s chunk: its RIFF header announces %d bytes, but it is %d long", what, p.riffEnd, p.length)
	}
	return p.field.refuse("has no %s chunk", what)
}

// samples is what belongs to a data chunk that announces size bytes and at
// whose beginning the parser stands.
func (p *parser) samples(size uint32) ([]byte, error) {
	announced := int64(size)
	if size == math.MaxUint32 && p.data64 > 0 {
		announced = p.data64
	}
	have := int64(len(p.rest))
	switch {
	case announced == 0 && !isEmptied(p.rest), announced > have && announced >= unknownSize:
		// A tag or chunks that follow the end that the RIFF header names are no
		// audio. Anything else is: a header written first may name any end.
		if p.riffEnd > p.at() && p.riffEnd < p.length && isChunks(p.rest[p.riffEnd-p.at():]) {
			return p.rest[:p.riffEnd-p.at()], nil
		}
		return p.rest, nil
	case announced == have+1 && have&1 == 1 && p.w.frameBytes()&1 == 1:
		return p.rest, nil // the pad byte was counted, but not written
	case announced > have:
		return nil, p.field.refuse("is cut off: it announces %d bytes of samples, but %d follow", announced, have)
	default:
		return p.rest[:announced], nil
	}
}

// isEmptied reports whether what follows a data chunk of size zero is no audio.
// If it is, the writer stopped before it came back to fill in the size.
func isEmptied(rest []byte) bool {
	return len(bytes.Trim(rest, "\x00")) == 0 || isChunks(rest)
}

// isName reports whether four bytes can be a chunk's name.
func isName(id []byte) bool {
	for _, c := range id {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// isChunks reports whether rest is a tag, or whole chunks and perhaps zeros.
func isChunks(rest []byte) bool {
	for _, tag := range []string{"ID3", "TAG", "APETAGEX"} {
		if bytes.HasPrefix(rest, []byte(tag)) {
			return true
		}
	}
	if len(rest) < chunkHeader {
		return false
	}
	for len(rest) >= chunkHeader && rest[0] != 0 {
		if !isName(rest[:4]) {
			return false
		}
		size := int64(binary.LittleEndian.Uint32(rest[4:]))
		if size > int64(len(rest)-chunkHeader) {
			return false
		}
		rest = rest[min(int64(len(rest)), chunkHeader+size+size&1):]
	}
	return len(bytes.Trim(rest, "\x00")) == 0
}

// format reads a fmt chunk.
func (p *parser) format(c []byte) (*WAV, error) {
	if len(c) < 16 {
		return nil, p.field.refuse("has a fmt chunk of %d bytes; expected 16 or more", len(c))
	}
	tag := binary.LittleEndian.Uint16(c)
	w := &WAV{
		field:    p.field,
		Channels: int(binary.LittleEndian.Uint16(c[2:])),
		bits:     int(binary.LittleEndian.Uint16(c[14:])),
	}
	rate := binary.LittleEndian.Uint32(c[4:])
	align := int(binary.LittleEndian.Uint16(c[12:]))
	if tag == formatExtensible {
		if len(c) < 40 {
			return nil, p.field.refuse("has an extensible fmt chunk of %d bytes; expected 40", len(c))
		}
		// KSDATAFORMAT_SUBTYPE_*: the format tag, then a fixed tail.
		switch tail := string(c[26:40]); tail {
		case "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71":
		case "\x00\x00\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\x00\x00\x00":
			return nil, p.field.refuse("has channels of Ambisonic B-format; expected one channel, or those of loudspeakers")
		default:
			return nil, p.field.refuse("has the unknown sub-format %x; expected PCM or IEEE float", c[24:40])
		}
		tag = binary.LittleEndian.Uint16(c[24:])
	}
	switch {
	case tag != formatPCM && tag != formatFloat:
		return nil, p.field.refuse("has samples of format %#04x%s; expected PCM (1) or IEEE float (3)", tag, coding(tag))
	case tag == formatPCM && (w.bits < 8 || w.bits > 32):
		return nil, p.field.refuse("has PCM samples of %d bits; expected 8 to 32", w.bits)
	case tag == formatFloat && w.bits != 32 && w.bits != 64:
		return nil, p.field.refuse("has float samples of %d bits; expected 32 or 64", w.bits)
	case w.Channels < 1 || w.Channels > maxChannels:
		return nil, p.field.refuse("has %d channels; expected 1 to %d", w.Channels, maxChannels)
	case rate < 1 || rate > maxRate:
		return nil, p.field.refuse("has a sample rate of %d Hz; expected 1 to %d", rate, maxRate)
	}
	w.Rate, w.float = int(rate), tag == formatFloat
	return w, w.container(align)
}

// container makes whole bytes of the bits of a sample, which stand at the top of
// them. A frame of align bytes holds no more, but that 24 bits may stand in 32.
// Some writers leave align out.
func (w *WAV) container(align int) error {
	bits := w.bits
	w.bits = (bits + 7) / 8 * 8
	if bits == 24 && align == 4*w.Channels {
		w.bits = 32
	}
	if align != 0 && align != w.frameBytes() {
		return w.field.refuse("has frames of %d bytes by its header; %d channels of %d bits take %d", align, w.Channels, bits, w.frameBytes())
	}
	return nil
}

// setData takes the samples. Half a frame at their end is none: a pad byte that
// was counted, or where a writer was stopped.
func (w *WAV) setData(samples []byte) error {
	frame := w.frameBytes()
	w.Frames = int64(len(samples) / frame)
	w.data = samples[:w.Frames*int64(frame)]
	switch {
	case w.Frames == 0 && len(samples) > 0:
		return w.field.refuse("has %d bytes of samples, less than one frame of %d bytes", len(samples), frame)
	case w.Frames > maxSeconds*int64(w.Rate):
		return &problem.Error{
			Code:   problem.PayloadTooLarge,
			Detail: string(w.field) + ": is longer than an hour; split it",
			Fields: []problem.Field{{Field: string(w.field), Detail: "expected at most 3600 seconds"}},
		}
	}
	return nil
}

// frameBytes is how long a frame is.
func (w *WAV) frameBytes() int { return w.Channels * w.bits / 8 }

// Seconds is the length of the audio.
func (w *WAV) Seconds() float64 { return float64(w.Frames) / float64(w.Rate) }

// Read fills dst with the next frames, each the mean of its channels, in
// [-1, 1] at full scale. At the end it returns 0 and io.EOF. A sample that is
// not finite is problem.InvalidArgument, which names its frame.
func (w *WAV) Read(dst []float32) (int, error) {
	width := w.bits / 8
	frame := width * w.Channels
	n := min(len(dst), len(w.data)/frame)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range n {
		var sum float64
		for c := range w.Channels {
			sum += sample(w.data[i*frame+c*width:][:width], w.float)
		}
		// NaN fails the comparison, too.
		if !(math.Abs(sum) <= maxSample*float64(w.Channels)) {
			return 0, w.field.refuse("has a sample that is not finite or far out of range in frame %d; expected floats between -1 and 1", w.read+int64(i))
		}
		dst[i] = float32(sum / float64(w.Channels))
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
