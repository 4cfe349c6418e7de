package function

import (
	"encoding/binary"
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// TestAModelThatWasReplacedInTheCacheDoesNotAnswer replaces the files of a model in
// the cache by others of the same size and time, while no function runs, by a rename
// and in place, and has another one start there.
func TestAModelThatWasReplacedInTheCacheDoesNotAnswer(t *testing.T) {
	t.Parallel()
	weights := func(values ...float32) (data []byte) {
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		return data
	}
	for name, tc := range map[string]struct {
		files map[string][]byte
		evil  map[string][]byte // by the start of what it replaces
		want  string            // of inputs 1 and 2
	}{
		"a model": {
			map[string][]byte{"model.onnx": onnxtest.Scale(2, 2).Marshal()},
			map[string][]byte{string(onnxtest.Scale(2, 2).Marshal()): onnxtest.Scale(2, 9).Marshal()},
			`"data":[2,4]`,
		},
		"external data": {
			map[string][]byte{"model.onnx": onnxtest.External(2, "weights.bin").Marshal(), "weights.bin": weights(10, 20)},
			map[string][]byte{string(weights(10, 20)): weights(66, 66)},
			`"data":[11,22]`,
		},
	} {
		for how, put := range map[string]func(path string, data []byte) error{
			"by another file": func(path string, data []byte) error {
				return errors.Join(os.WriteFile(path+"-new", data, 0o440), os.Rename(path+"-new", path))
			},
			"in place": func(path string, data []byte) error {
				return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600), os.Chmod(path, 0o440))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				environment := storage(t)
				publishFiles(t, environment, tc.files)
				answers := func() {
					p := begin(t, Spec{Name: "double"}, environment)
					p.waitReady()
					status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`)
					if err != nil || status != http.StatusOK || !strings.Contains(body, tc.want) {
						t.Errorf("%d %s, %v; want %s", status, body, err, tc.want)
					}
					p.stop()
					if err := <-p.done; err != nil {
						t.Error(err)
					}
				}
				answers()
				replaced := 0
				files, err := filepath.Glob(filepath.Join(environment["MODELSERVE_CACHE_DIR"], "files", "*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range files {
					data, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					evil, ok := tc.evil[string(data)]
					if !ok {
						continue
					}
					replaced++
					info, err := os.Stat(path)
					if err == nil {
						err = errors.Join(put(path, evil), os.Chtimes(path, info.ModTime(), info.ModTime()))
					}
					if err != nil || len(evil) != len(data) {
						t.Fatal(err, len(evil), len(data))
					}
				}
				if replaced != 1 {
					t.Fatalf("%d files were replaced", replaced)
				}
				answers()
			})
		}
	}
}
