package imaging

import (
	"bytes"
	"errors"
)

// otherFile names the format of a file that is none of ours, where people send
// them.
func otherFile(data []byte) error {
	for _, known := range []struct{ magic, name string }{
		{"????ftyphei", "a HEIC image"},
		{"????ftyphev", "a HEIC image"},
		{"????ftypmif1", "a HEIF image"},
		{"????ftypavi", "an AVIF image"},
		{"????ftyp", "an MP4 file"},
		{"\xff\x0a", "a JPEG XL image"},
		{"\x00\x00\x00\x0cJXL ", "a JPEG XL image"},
		{"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"},
		{"\xff\x4f\xff\x51", "a JPEG 2000 image"},
		{"%PDF", "a PDF"},
		{"8BPS", "a Photoshop file"},
		{"\x00\x00\x01\x00", "an icon"},
		{"<svg", "an SVG drawing"},
		{"<?xml", "an XML file, such as an SVG drawing"},
		{"P?\n", "a PNM image"},
		{"qoif", "a QOI image"},
		{"RIFF????WEBP", "a WebP without a picture"},
		{"RIFF????WAVE", "a WAV recording"},
		{"gimp xcf", "a GIMP file"},
	} {
		if matches(known.magic, data) {
			return refusal(known.name)
		}
	}
	if text := bytes.TrimLeft(data[:min(len(data), 64)], " \t\r\n\ufeff"); len(text) > 0 && text[0] == '{' {
		return errors.New("JSON, which is read with the content type application/json")
	}
	return errors.New("not an image that is read here")
}
