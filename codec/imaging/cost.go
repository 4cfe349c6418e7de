package imaging

import (
	"image"
	"image/color"
)

// What each decoder holds at once, in bytes, as it takes it: by reading image/png,
// image/jpeg and image/gif of Go, and golang.org/x/image's webp, vp8l and tiff.
// TestDecodingTakesWhatIsReserved and TestEachKindTakesWhatIsReserved hold it against what
// is allocated.

// ownBytes is our copy of a picture, and the rows that it is made by.
func ownBytes(c image.Config) int64 {
	const packed, row = 3, 16
	return packed*area(c.Width, c.Height) + row*int64(c.Width)
}

func area(w, h int) int64 { return int64(w) * int64(h) }

// pixelBytes is what a picture of a model takes for each pixel, at most.
func pixelBytes(model color.Model) int64 {
	switch model {
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.YCbCrModel:
		return 3
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	}
	if _, ok := model.(color.Palette); ok {
		return 1
	}
	return 4
}

// costPNG is of the picture, of two rows with their filters, and of an interlaced
// one's passes, which are as large together. Grey with a transparent level has four samples,
// though its configuration does not say so.
func costPNG(s *source, c image.Config) int64 {
	const inflater = 64 << 10
	pixel := pixelBytes(c.ColorModel)
	if s.clear {
		pixel *= 4
	}
	if s.interlaced {
		pixel *= 2
	}
	return pixel*area(c.Width, c.Height) + 2*(8*int64(c.Width)+1) + inflater
}

// costJPEG is of all MCUs' samples, of their coefficients where those are held, and of
// the picture that is made of samples which are no Y'CbCr.
func costJPEG(s *source, c image.Config) int64 {
	const coefficient, converted, decoder = 4, 4, 64 << 10
	across, down := s.jpeg.mcu(c.Width, c.Height)
	each := s.jpeg.samples
	if s.jpeg.progressive {
		each += coefficient * s.jpeg.samples
	}
	n := int64(each*float64(area(across, down))) + decoder
	if s.jpeg.converted {
		n += converted * area(c.Width, c.Height)
	}
	return n
}

// mcu is a size in whole MCUs.
func (f *frame) mcu(w, h int) (int, int) {
	up := func(n, to int) int { return (n + to - 1) / to * to }
	return up(w, 8*max(f.across, 1)), up(h, 8*max(f.down, 1))
}

// costWebP is of the two kinds of a WebP, the lossy one with its transparency, which is a
// lossless picture of its own.
func costWebP(s *source, c image.Config) int64 {
	const (
		lossless = 7 // pixels, those of fewer bits beside them, and the images of transforms and groups
		alpha    = 1
		blocks   = 16
	)
	size := area(c.Width, c.Height)
	if s.webp.lossless {
		return lossless*size + groupsWebP(s.webp.pixels, c)
	}
	n := 3*area(c.Width+blocks, c.Height+blocks)/2 + 2*s.webp.pixels
	if s.webp.alpha > 0 {
		n += (lossless+alpha)*size + groupsWebP(s.webp.alpha, c)
	}
	return n
}

// groupsWebP bounds the groups of Huffman trees in a lossless picture of so many bytes: one
// for each tile of 4×4 pixels, and never more than the decoder takes. A small group
// is 20 bits in the file; a tree's symbol is half a bit of it at least, by the code
// that repeats lengths.
func groupsWebP(bytes int64, c image.Config) int64 {
	const (
		most, bits   = 2600, 20
		group        = 5 * (24 + 512) // the trees' heads and tables
		trees        = 56 << 10       // the nodes of its largest
		nodesOfAByte = 2 * 8 * 18     // two nodes of 8 bytes for each symbol, and what allocating them adds
		building     = 32 << 10       // lengths and codes of a tree
	)
	tiles := (int64(c.Width) + 3) / 4 * ((int64(c.Height) + 3) / 4)
	groups := min(most, tiles, 8*bytes/bits+1)
	return groups*group + min(groups*trees, bytes*nodesOfAByte) + building
}

// costGIF is of the frame, and of an interlaced one's copy in order.
func costGIF(_ *source, c image.Config) int64 {
	const decoder = 64 << 10
	return 2*area(c.Width, c.Height) + decoder
}

// costBMP is of the picture and of a row.
func costBMP(_ *source, c image.Config) int64 {
	return pixelBytes(c.ColorModel)*area(c.Width, c.Height) + 8*int64(c.Width)
}

// costTIFF is of the picture, of the largest block as it is unpacked, and of the tables
// of blocks. The decoder lets a block have 8 bytes a pixel whatever its depth, and its
// buffer doubles.
func costTIFF(s *source, c image.Config) int64 {
	const deepest, growth, table, unpacker = 8, 3, 2 * (4 + 8), 64 << 10
	t := &s.tiff
	pixels := area(t.width, t.height)
	block := growth * deepest * pixels
	switch t.compression {
	case tiffG3, tiffG4:
		block = growth * (pixels/8 + int64(t.height))
	case tiffUncompressed:
		block = growth * min(deepest*pixels, s.size)
	}
	across, down := max(t.width, 1), max(t.height, 1)
	blocks := (int64(t.across) + int64(across) - 1) / int64(across) * ((int64(t.down) + int64(down) - 1) / int64(down))
	return pixelBytes(c.ColorModel)*area(c.Width, c.Height) + block + table*blocks + unpacker
}
