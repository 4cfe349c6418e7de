package imaging_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/problem"
)

// pages are the files that test/golden/text.py draws.
const pages = "../../functions/text-detect/testdata"

func decode(t testing.TB, data []byte) *imaging.Image {
	t.Helper()
	m, err := imaging.Decode(t.Context(), data, imaging.Options{Field: "image"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t testing.TB, folder, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// corners is a picture of 3×2 whose pixels differ in their first byte:
//
//	1 2 3
//	4 5 6
func corners() image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	for i := range 6 {
		m.SetNRGBA(i%3, i/3, color.NRGBA{R: 7, G: 8, B: uint8(i + 1), A: 255})
	}
	return m
}

// blues reads the first byte of each pixel, row by row.
func blues(m *imaging.Image) (rows []string) {
	for y := range m.Height {
		var row strings.Builder
		for x := range m.Width {
			row.WriteByte('0' + m.Row(y)[3*x])
		}
		rows = append(rows, row.String())
	}
	return rows
}

// exifOf is the least EXIF that has an orientation.
func exifOf(order binary.AppendByteOrder, mark string, orientation uint16) []byte {
	b := []byte(mark)
	b = order.AppendUint16(b, 42)
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 2)
	for _, entry := range []struct{ tag, value uint16 }{{0x010e, 1}, {0x0112, orientation}} {
		b = order.AppendUint16(b, entry.tag)
		b = order.AppendUint16(b, 3)
		b = order.AppendUint32(b, 1)
		b = order.AppendUint16(b, entry.value)
		b = append(b, 0, 0)
	}
	return append(b, 0, 0, 0, 0)
}

// pngChunk is a PNG chunk with its checksum.
func pngChunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

func encodePNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeOrientation(t *testing.T) {
	t.Parallel()
	for orientation, want := range map[uint16][]string{
		0: {"123", "456"}, // not one: as stored
		1: {"123", "456"},
		2: {"321", "654"},
		3: {"654", "321"},
		4: {"456", "123"},
		5: {"14", "25", "36"},
		6: {"41", "52", "63"},
		7: {"63", "52", "41"},
		8: {"36", "25", "14"},
		9: {"123", "456"},
	} {
		plain := encodePNG(t, corners())
		const header = 33 // signature and IHDR
		little := pngChunk("eXIf", exifOf(binary.LittleEndian, "II", orientation))
		got := blues(decode(t, bytes.Join([][]byte{plain[:header], little, plain[header:]}, nil)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("PNG, orientation %d: %s", orientation, diff)
		}

		var b bytes.Buffer
		if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 30, 20)), nil); err != nil {
			t.Fatal(err)
		}
		exif := append([]byte("Exif\x00\x00"), exifOf(binary.BigEndian, "MM", orientation)...)
		segment := append([]byte{0xff, 0xe1, 0, byte(len(exif) + 2)}, exif...)
		m := decode(t, bytes.Join([][]byte{b.Bytes()[:2], segment, b.Bytes()[2:]}, nil))
		if tall := m.Height > m.Width; tall != (orientation >= 5 && orientation <= 8) {
			t.Errorf("JPEG, orientation %d: %d×%d", orientation, m.Width, m.Height)
		}
	}
}

// TestDecodeFormats holds every format to the PNG of the same picture.
func TestDecodeFormats(t *testing.T) {
	t.Parallel()
	want := decode(t, read(t, pages, "small-lossless.webp"))
	for name, tolerance := range map[string]int{
		"small.tiff": 0, "small.gif": 0, "small.bmp": 0,
		"small.webp": 60, "small-444.jpg": 60, "exif-6.jpg": 60,
	} {
		got := decode(t, read(t, pages, name))
		if got.Width != want.Width || got.Height != want.Height {
			t.Errorf("%s: %d×%d, want %d×%d", name, got.Width, got.Height, want.Width, want.Height)
			continue
		}
		largest, mean := difference(got, want)
		if largest > tolerance || mean > 2 {
			t.Errorf("%s: differs by up to %d, %.2f on average", name, largest, mean)
		}
	}
}

func difference(a, b *imaging.Image) (largest int, mean float64) {
	for i := range a.Pix {
		d := max(int(a.Pix[i])-int(b.Pix[i]), int(b.Pix[i])-int(a.Pix[i]))
		largest, mean = max(largest, d), mean+float64(d)/float64(len(a.Pix))
	}
	return largest, mean
}

func TestDecodeColours(t *testing.T) {
	t.Parallel()
	dark := color.NRGBA{R: 10, G: 20, B: 30, A: 255}
	light := color.NRGBA{R: 250, G: 240, B: 230, A: 255}
	half := color.NRGBA{R: 10, G: 20, B: 30, A: 128}
	clear := color.NRGBA{R: 200, G: 200, B: 200}
	nrgba := func(px ...color.NRGBA) image.Image {
		m := image.NewNRGBA(image.Rect(0, 0, len(px), 1))
		for x, c := range px {
			m.SetNRGBA(x, 0, c)
		}
		return m
	}
	deep := image.NewNRGBA64(image.Rect(0, 0, 1, 1))
	deep.SetNRGBA64(0, 0, color.NRGBA64{R: 0x0aff, G: 0x14ff, B: 0x1eff, A: 0xffff})
	for name, tc := range map[string]struct {
		m    image.Image
		want []uint8 // blue, green, red
	}{
		"opaque":                         {nrgba(dark), []uint8{30, 20, 10}},
		"dark ink over white":            {nrgba(dark, clear), []uint8{30, 20, 10, 255, 255, 255}},
		"light ink over black":           {nrgba(light, clear), []uint8{230, 240, 250, 0, 0, 0}},
		"half covered":                   {nrgba(dark, half), []uint8{30, 20, 10, 142, 137, 132}},
		"all transparent is white":       {nrgba(clear), []uint8{255, 255, 255}},
		"sixteen bits":                   {deep, []uint8{30, 20, 10}},
		"grey":                           {&image.Gray{Pix: []uint8{77}, Stride: 1, Rect: image.Rect(0, 0, 1, 1)}, []uint8{77, 77, 77}},
		"palette with a transparent hue": {&image.Paletted{Pix: []uint8{0, 1}, Stride: 2, Rect: image.Rect(0, 0, 2, 1), Palette: color.Palette{dark, color.NRGBA{}}}, []uint8{30, 20, 10, 255, 255, 255}},
	} {
		got := decode(t, encodePNG(t, tc.m))
		if diff := cmp.Diff(tc.want, got.Pix); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestDecodeSmallFrameOfGIF holds what is beside a frame to the first colour,
// or to the background of what is transparent.
func TestDecodeSmallFrameOfGIF(t *testing.T) {
	t.Parallel()
	blue, black, white := color.NRGBA{B: 200, A: 255}, color.NRGBA{A: 255}, color.NRGBA{R: 255, G: 255, B: 255, A: 255}
	for name, tc := range map[string]struct {
		palette        color.Palette
		inside, beside uint8
	}{
		"the first colour":               {color.Palette{blue, black}, 0, 200},
		"one that is transparent":        {color.Palette{blue, black, color.NRGBA{}}, 0, 255},
		"transparent beside what shines": {color.Palette{color.NRGBA{}, white}, 255, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frame := &image.Paletted{Pix: []uint8{1, 1}, Stride: 2, Rect: image.Rect(1, 1, 3, 2), Palette: tc.palette}
			var b bytes.Buffer
			if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{frame}, Delay: []int{0}, Config: image.Config{Width: 4, Height: 3, ColorModel: frame.Palette}}); err != nil {
				t.Fatal(err)
			}
			m := decode(t, b.Bytes())
			if m.Width != 4 || m.Height != 3 || m.Row(1)[3] != tc.inside || m.Row(0)[0] != tc.beside || m.Row(1)[0] != tc.beside || m.Row(1)[9] != tc.beside {
				t.Errorf("%d×%d: %v", m.Width, m.Height, m.Pix)
			}
		})
	}
}

// header is a PNG whose header has w×h, and that holds nothing.
func header(w, h uint32) []byte {
	ihdr := binary.BigEndian.AppendUint32(nil, w)
	ihdr = binary.BigEndian.AppendUint32(ihdr, h)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	return append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", ihdr)...)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	page := read(t, pages, "page.png")
	huge := append([]byte("GIF89a"), 0xff, 0xff, 0xff, 0xff, 0, 0, 0)
	photo := read(t, pages, "small-444.jpg")
	scans := slices.Concat(photo[:len(photo)-2], bytes.Repeat([]byte{0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0}, 300))
	for name, tc := range map[string]struct {
		data   []byte
		code   problem.Code
		detail string
	}{
		"nothing":            {nil, problem.InvalidArgument, "empty"},
		"text":               {[]byte("hello"), problem.InvalidArgument, "expected a PNG"},
		"a phone's HEIC":     {[]byte("\x00\x00\x00\x24ftypheic\x00\x00\x00\x00"), problem.InvalidArgument, "a HEIC image, which is not read here"},
		"a form by curl -d":  {[]byte(` {"image": "aGk="}`), problem.InvalidArgument, "JSON, which is read with the content type application/json"},
		"a PDF":              {[]byte("%PDF-1.7\n"), problem.InvalidArgument, "a PDF, which is not read here"},
		"one byte":           {page[:1], problem.InvalidArgument, "expected a PNG"},
		"a signature":        {page[:8], problem.InvalidArgument, "cut off"},
		"half a page":        {page[:len(page)/2], problem.InvalidArgument, "cut off"},
		"a bomb":             {header(40_000, 40_000), problem.PayloadTooLarge, "40000×40000"},
		"a narrow bomb":      {header(1<<31-1, 2), problem.PayloadTooLarge, "limit"},
		"no height":          {header(10, 0), problem.InvalidArgument, ""},
		"a GIF's screen":     {huge, problem.PayloadTooLarge, "65535×65535"},
		"a header alone":     {header(100, 100), problem.InvalidArgument, "cut off"},
		"half a JPEG":        {read(t, pages, "photo.jpg")[:5000], problem.InvalidArgument, "cut off"},
		"scans without end":  {scans, problem.InvalidArgument, "scans"},
		"half a WebP":        {read(t, pages, "small.webp")[:500], problem.InvalidArgument, "WebP"},
		"half a GIF":         {read(t, pages, "small.gif")[:1500], problem.InvalidArgument, "cut off"},
		"half a BMP":         {read(t, pages, "small.bmp")[:5000], problem.InvalidArgument, "cut off"},
		"half a TIFF":        {read(t, pages, "small.tiff")[:3000], problem.InvalidArgument, "TIFF"},
		"a TIFF's beginning": {[]byte("II*\x00\xff\xff\xff\x7f"), problem.InvalidArgument, "TIFF"},
	} {
		_, err := imaging.Decode(t.Context(), tc.data, imaging.Options{Field: "image"})
		p := problem.From(err)
		if p == nil || p.Code != tc.code || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: got %v, want %s with %q", name, err, tc.code, tc.detail)
			continue
		}
		if len(p.Fields) != 1 || p.Fields[0].Field != "image" {
			t.Errorf("%s: fields %v", name, p.Fields)
		}
	}
}

// TestDecodeReservesFirst proves that the budget is asked before memory is.
func TestDecodeReservesFirst(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for name, atLeast := range map[string]int64{"page.png": 1000 * 700 * 6, "photo.jpg": 960 * 640 * 4, "small.gif": 420 * 150 * 4} {
		var asked int64
		_, err := imaging.Decode(t.Context(), read(t, pages, name), imaging.Options{
			Reserve: func(_ context.Context, n int64) error { asked = n; return full },
		})
		if !errors.Is(err, full) || asked < atLeast || asked > 3*atLeast {
			t.Errorf("%s: asked for %d bytes, at least %d expected: %v", name, asked, atLeast, err)
		}
	}
}

// TestDecodeReservesForRestarts proves that rewriting a JPEG takes its memory
// from the budget, too.
func TestDecodeReservesForRestarts(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for name, want := range map[string]int{"restarts-scans-2x2-1.jpg": 2, "restarts-grey.jpg": 1, "cjpeg-restarts.jpg": 1, "cjpeg-scans.jpg": 1} {
		data, asked := read(t, odd, name), 0
		_, err := imaging.Decode(t.Context(), data, imaging.Options{
			Reserve: func(_ context.Context, n int64) error {
				if asked++; asked < 2 {
					return nil
				}
				if n < 2*int64(len(data)) {
					t.Errorf("%s: asked for %d bytes, twice its %d expected", name, n, len(data))
				}
				return full
			},
		})
		if asked != want || errors.Is(err, full) != (want > 1) {
			t.Errorf("%s: asked %d times, %d expected: %v", name, asked, want, err)
		}
	}
}

func TestDecodeStopsWithTheRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := imaging.Decode(ctx, read(t, pages, "photo.jpg"), imaging.Options{Field: "image"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"blank.png", "small-444.jpg", "small.webp", "small-lossless.webp", "small.gif", "small.tiff"} {
		f.Add(read(f, pages, name))
	}
	f.Add(header(40_000, 40_000))
	for name := range oddFiles(f) {
		f.Add(read(f, odd, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 18
		m, err := imaging.Decode(t.Context(), data, imaging.Options{Field: "image", MaxPixels: limit})
		if err != nil {
			if p := problem.From(err); len(p.Fields) != 1 {
				t.Fatalf("no field in %v", err)
			}
			return
		}
		if m.Width*m.Height > limit || m.Width < 1 || m.Height < 1 || len(m.Pix) != m.Stride*m.Height {
			t.Fatalf("%d×%d in %d bytes", m.Width, m.Height, len(m.Pix))
		}
	})
}
