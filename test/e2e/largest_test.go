package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"
)

// functionsAtTheirLargest holds that each function answers the largest that its page
// names, within the memory that its manifest gives it.
func functionsAtTheirLargest(t *testing.T, p *platform) {
	const side = 8000 // 64 million pixels
	photo, drawing := flatJPEG(t, side), flatPNG(t, side, side)
	page := flatPNG(t, 1240, 1754) // A4 at 150 dots an inch
	for name, tc := range map[string]struct {
		function, contentType string
		body                  []byte
		atOnce                int
	}{
		"text-detect, a photo":              {"text-detect", "image/jpeg", photo, 1},
		"text-detect, a drawing":            {"text-detect", "image/png", drawing, 1},
		"text-detect, a column":             {"text-detect", "image/png", flatPNG(t, 30, 2000), 1},
		"text-detect, pages":                {"text-detect", "image/png", page, 4},
		"text-orient, a photo":              {"text-orient", "image/jpeg", photo, 1},
		"text-orient, a drawing":            {"text-orient", "image/png", drawing, 1},
		"text-orient, a line of it all":     {"text-orient", "application/json", lines(t, photo, side, 1), 1},
		"text-recognize, a photo":           {"text-recognize", "image/jpeg", photo, 1},
		"text-recognize, a drawing":         {"text-recognize", "image/png", drawing, 1},
		"text-recognize, a line of it all":  {"text-recognize", "application/json", lines(t, photo, side, 1), 1},
		"text-recognize, the longest lines": {"text-recognize", "application/json", lines(t, photo, side, 200), 1},
		"content-detect, the largest body":  {"content-detect", "application/octet-stream", bytes.Repeat([]byte("text "), 32<<20/5), 1},
		"speech-detect, an hour":            {"speech-detect", "audio/wav", silence(3600, 8000), 1},
	} {
		t.Run(name, func(t *testing.T) {
			var calls errgroup.Group
			for range tc.atOnce {
				calls.Go(func() error {
					res := p.must(t, request{host: p.Host(tc.function), path: "/", body: tc.body, header: map[string]string{"Content-Type": tc.contentType}})
					if res.status != http.StatusOK {
						return fmt.Errorf("%d %.300s", res.status, res.body)
					}
					return nil
				})
			}
			if err := calls.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// flat is a picture of one colour.
type flat struct {
	image.Uniform

	size image.Rectangle
}

func (f *flat) Bounds() image.Rectangle { return f.size }
func (f *flat) ColorModel() color.Model { return color.RGBAModel }

func flatPNG(t *testing.T, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	picture := &flat{*image.NewUniform(color.RGBA{200, 200, 210, 255}), image.Rect(0, 0, w, h)}
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// flatJPEG is a square in three colours of as many samples each, which decoders hold as
// they are: the blocks of a grey picture three times as high.
func flatJPEG(t *testing.T, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, &image.Gray{Pix: bytes.Repeat([]byte{200}, side), Stride: 0, Rect: image.Rect(0, 0, side, 3*side)}, nil); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	frame, scan := bytes.Index(data, []byte{0xff, 0xc0}), bytes.Index(data, []byte{0xff, 0xda})
	of := binary.BigEndian
	out := append([]byte(nil), data[:frame]...)
	out = append(out, 0xff, 0xc0, 0, 17, 8)
	out = of.AppendUint16(of.AppendUint16(out, uint16(side)), uint16(side))
	out = append(out, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0)
	out = append(out, data[frame+2+int(of.Uint16(data[frame+2:])):scan]...)
	out = append(out, 0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0)
	return append(out, data[scan+2+int(of.Uint16(data[scan+2:])):]...)
}

// lines is a form of a picture and eight lines of it, each so many times as long as high.
func lines(t *testing.T, picture []byte, side, ratio int) []byte {
	t.Helper()
	var polygons [][4][2]int
	for i := range min(8, ratio) {
		top, bottom := i*side/ratio, (i+1)*side/ratio
		polygons = append(polygons, [4][2]int{{0, top}, {side, top}, {side, bottom}, {0, bottom}})
	}
	body, err := json.Marshal(map[string]any{"image": base64.StdEncoding.EncodeToString(picture), "polygons": polygons})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// silence is a WAV file of one channel of 8 bits.
func silence(seconds, rate int) []byte {
	of, n := binary.LittleEndian, seconds*rate
	out := of.AppendUint32([]byte("RIFF"), uint32(36+n))
	out = append(out, "WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"...)
	out = of.AppendUint32(of.AppendUint32(out, uint32(rate)), uint32(rate))
	out = append(out, "\x01\x00\x08\x00data"...)
	return append(of.AppendUint32(out, uint32(n)), bytes.Repeat([]byte{0x80}, n)...)
}
