package audio

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

// odd are WAVs as programs write them; test/golden/odd_audio.py makes them.
const odd = "testdata/odd"

// oddFile is how one of them is to be read: every so many of its samples, or the
// words that its refusal holds.
type oddFile struct {
	Rate    int       `json:"rate"`
	Frames  int       `json:"frames"`
	Samples []float64 `json:"samples"`
	Refused string    `json:"refused"`
}

func oddFiles(t testing.TB) map[string]oddFile {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(odd, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var files map[string]oddFile
	if err := json.Unmarshal(data, &files); err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOddFiles holds our reading of each file to libsndfile's, or our refusal
// to what the file is.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	for name, want := range oddFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.ReadFile(filepath.Join(odd, name))
			if err != nil {
				t.Fatal(err)
			}
			w, err := ParseWAV("audio", file)
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
			if w.Rate != want.Rate || w.Frames != int64(want.Frames) {
				t.Fatalf("%d frames at %d Hz, want %d at %d", w.Frames, w.Rate, want.Frames, want.Rate)
			}
			got := make([]float32, w.Frames)
			if _, err := ReadFull(w, got); err != nil {
				t.Fatal(err)
			}
			for i, sample := range want.Samples {
				at := i * max(1, len(got)/shown)
				if math.Abs(float64(got[at])-sample) > 1e-5 {
					t.Fatalf("sample %d is %v, want %v", at, got[at], sample)
				}
			}
		})
	}
}

// shown is the least number of samples that golden.json has of a file.
const shown = 40
