package imaging_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"runtime"
	"testing"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/problem"
)

// groups is a WebP of 208×208 pixels with 2,600 groups of Huffman trees, each as large as
// the format allows.
func groups(t testing.TB) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(read(t, "testdata", "groups.webp.gz")))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tiffOf is a TIFF of one block of zeros that is deflated, of so many bytes, with 8
// bits a sample.
func tiffOf(t testing.TB, w, h, size int, tile bool) []byte {
	t.Helper()
	var block bytes.Buffer
	z := zlib.NewWriter(&block)
	if _, err := z.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	const head = 8
	tags := [][2]uint32{{256, uint32(w)}, {257, uint32(h)}, {258, 8}, {259, 8}, {262, 1}}
	if tile {
		tags = append(tags, [2]uint32{322, uint32(w)}, [2]uint32{323, uint32(h)}, [2]uint32{324, head}, [2]uint32{325, uint32(block.Len())})
	} else {
		tags = append(tags, [2]uint32{273, head}, [2]uint32{278, uint32(h)}, [2]uint32{279, uint32(block.Len())})
	}
	out := le.AppendUint32([]byte("II*\x00"), uint32(head+block.Len()))
	out = append(out, block.Bytes()...)
	out = le.AppendUint16(out, uint16(len(tags)))
	for _, tag := range tags {
		out = le.AppendUint16(le.AppendUint16(out, uint16(tag[0])), 4)
		out = le.AppendUint32(le.AppendUint32(out, 1), tag[1])
	}
	return append(out, 0, 0, 0, 0)
}

// TestDecodingTakesWhatIsReserved holds what is reserved for a picture against all that
// decoding it allocates, with what is garbage by its end.
func TestDecodingTakesWhatIsReserved(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	noise := func(m interface{ Set(x, y int, c color.Color) }, w, h int) {
		for y := range h {
			for x := range w {
				m.Set(x, y, color.NRGBA{uint8(x * y), uint8(x + y), uint8(x ^ y), uint8(x | 1)})
			}
		}
	}
	wide := image.NewNRGBA64(image.Rect(0, 0, 200_000, 1))
	noise(wide, 200_000, 1)
	square := image.NewNRGBA(image.Rect(0, 0, 600, 400))
	noise(square, 600, 400)
	large := image.NewNRGBA(image.Rect(0, 0, 2000, 1000))
	progressive := read(t, pages, "small-444.jpg")
	const size = 5                                                                                // where it is, behind the marker
	copy(progressive[bytes.Index(progressive, []byte("\xff\xc2\x00"))+size:], "\x07\xd0\x07\xd0") // 2000×2000, of which the end is missing
	var photo, narrow bytes.Buffer
	if err := errors.Join(jpeg.Encode(&photo, square, nil), jpeg.Encode(&narrow, image.NewYCbCr(image.Rect(0, 0, 1, 30_000), image.YCbCrSubsampleRatio420), nil)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		data    []byte
		garbage int64 // that may be allocated beside what is held
		loose   int64 // so many times more may be reserved
	}{
		"a PNG of one row":            {encodePNG(t, wide), 16 * 200_000, 3}, // colours, one by one
		"a PNG":                       {encodePNG(t, square), 0, 3},
		"a large PNG":                 {encodePNG(t, large), 0, 1},
		"a JPEG":                      {photo.Bytes(), 0, 3},
		"a JPEG one pixel wide":       {narrow.Bytes(), 0, 4},
		"a progressive JPEG":          {progressive, 0, 4},
		"a WebP of large groups":      {groups(t), 2600 * 64 << 10, 3},
		"a lossy WebP":                {read(t, pages, "small.webp"), 0, 4},
		"a lossless WebP":             {read(t, pages, "small-lossless.webp"), 4 << 20, 60},
		"a GIF":                       {read(t, pages, "small.gif"), 0, 4},
		"a TIFF of one strip":         {tiffOf(t, 800, 600, 800*600, false), 0, 20},
		"a TIFF whose strip is large": {tiffOf(t, 800, 600, 8*800*600, false), 6 << 20, 3},
		"a TIFF whose tile is larger": {tiffOf(t, 1024, 1024, 8<<20, true), 12 << 20, 3}, // smaller buffers
	} {
		t.Run(name, func(t *testing.T) {
			var reserved int64
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err := imaging.Decode(t.Context(), tc.data, imaging.Options{Field: "image", Reserve: func(_ context.Context, n int64) error {
				reserved += n
				return nil
			}})
			runtime.ReadMemStats(&after)
			if cut := name == "a progressive JPEG"; (err != nil) != cut {
				t.Fatal(err)
			}
			const small = 1 << 20
			took := int64(after.TotalAlloc - before.TotalAlloc)
			if took > raced*(reserved+tc.garbage)+small {
				t.Errorf("%d bytes were allocated, %d reserved", took, reserved)
			}
			if reserved > tc.loose*took+small {
				t.Errorf("%d bytes were reserved, of which %d were needed", reserved, took)
			}
		})
	}
}

// TestLargeGroupsAreRefused holds that a picture whose groups are not in the budget is
// refused before they are built.
func TestLargeGroupsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := imaging.Decode(t.Context(), groups(t), imaging.Options{Field: "image", Reserve: func(_ context.Context, n int64) error {
		if n > 100<<20 {
			return problem.New(problem.PayloadTooLarge, "too much")
		}
		return nil
	}})
	if problem.CodeOf(err) != problem.PayloadTooLarge {
		t.Errorf("got %v", err)
	}
}
