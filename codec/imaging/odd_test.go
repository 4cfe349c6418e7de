package imaging_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/codec/imaging"
	"github.com/modelserveai/modelserve/problem"
)

// odd are files as programs write them; test/golden/odd_images.py makes them.
const odd = "testdata/odd"

// oddFile is how one of them is to be read: as this picture, or the words that
// its refusal holds.
type oddFile struct {
	Reading string `json:"reading"`
	Refused string `json:"refused"`
}

func oddFiles(t testing.TB) map[string]oddFile {
	t.Helper()
	var files map[string]oddFile
	if err := json.Unmarshal(read(t, odd, "golden.json"), &files); err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOddFiles holds our reading of each file to the reference library's, or
// our refusal to what the file is.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	for name, want := range oddFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := imaging.Decode(t.Context(), read(t, odd, name), imaging.Options{Field: "image"})
			if want.Refused != "" {
				p := problem.From(err)
				if p == nil || p.Code != problem.InvalidArgument || !strings.Contains(p.Detail, want.Refused) {
					t.Errorf("got %v, want a refusal with %q", err, want.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			picture := decode(t, read(t, odd, want.Reading))
			if got.Width != picture.Width || got.Height != picture.Height {
				t.Fatalf("%d×%d, want %d×%d", got.Width, got.Height, picture.Width, picture.Height)
			}
			largest, mean := difference(got, picture)
			if most := tolerance(name); largest > most || mean > float64(most)/4 {
				t.Errorf("differs by up to %d, %.2f on average", largest, mean)
			}
		})
	}
}

// tolerance is what two decoders of one file may differ by: lossy ones round
// their transforms differently, and laying out what is transparent rounds once.
func tolerance(name string) int {
	switch filepath.Ext(name) {
	case ".jpg":
		return 5
	case ".webp":
		return 3
	default:
		return 1
	}
}
