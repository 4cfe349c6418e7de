package function

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// objects reads the objects whose keys end so, by key.
func objects(t *testing.T, backend *s3mem.Backend, suffix string) map[string][]byte {
	t.Helper()
	list, err := backend.ListBucket("models", nil, gofakes3.ListBucketPage{MaxKeys: 100})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, o := range list.Contents {
		if !strings.HasSuffix(o.Key, suffix) {
			continue
		}
		object, err := backend.GetObject("models", o.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if found[o.Key], err = io.ReadAll(object.Contents); err != nil {
			t.Fatal(err)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no object ends with %s", suffix)
	}
	return found
}

func put(t *testing.T, backend *s3mem.Backend, key string, data []byte) {
	t.Helper()
	if _, err := backend.PutObject("models", key, map[string]string{}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
		t.Fatal(err)
	}
}

// TestFunctionEndsForAModelThatNeverLoads holds that a process does not wait for
// what will not come: it ends by itself, with the reason.
func TestFunctionEndsForAModelThatNeverLoads(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, environment map[string]string, backend *s3mem.Backend)
		want    string
	}{
		"absent": {
			func(*testing.T, map[string]string, *s3mem.Backend) {},
			`model "double" has no published version 1`,
		},
		"altered": {
			func(t *testing.T, environment map[string]string, backend *s3mem.Backend) {
				publish(t, environment)
				for key, data := range objects(t, backend, model.ModelFile) {
					data[len(data)-1] ^= 1
					put(t, backend, key, data)
				}
			},
			"model double@1: model.onnx: altered: sha256 ",
		},
		"not signed": {
			func(t *testing.T, environment map[string]string, _ *s3mem.Backend) {
				publish(t, environment)
				keys := t.TempDir()
				environment["MODELSERVE_PUBLIC_KEY_FILE"] = filepath.Join(keys, "pub")
				if _, err := sign.CreateKeys(filepath.Join(keys, "key"), filepath.Join(keys, "pub")); err != nil {
					t.Fatal(err)
				}
			},
			"model double@1: model.json: unsigned: ",
		},
		"of another name": {
			func(t *testing.T, environment map[string]string, backend *s3mem.Backend) {
				publish(t, environment)
				for key, data := range objects(t, backend, model.ManifestFile) {
					put(t, backend, strings.Replace(key, "double", "treble", 1), data)
				}
				environment["MODELSERVE_MODELS"] = "treble@1"
			},
			"model treble@1: model.json: it is the manifest of double@1",
		},
		"larger than the memory": {
			func(t *testing.T, environment map[string]string, _ *s3mem.Backend) {
				publish(t, environment)
				environment["MODELSERVE_MEMORY"] = "10"
			},
			"and models may take 10 bytes: raise MODELSERVE_MEMORY",
		},
		"no model at all": {
			func(t *testing.T, environment map[string]string, _ *s3mem.Backend) {
				publishBytes(t, environment, []byte("once upon a time"))
			},
			"create a session of double@1: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environment, backend := storageOf(t, same)
			tc.prepare(t, environment, backend)
			p := begin(t, Spec{Name: "double"}, environment)
			if err := <-p.done; err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("it ends with %v, want %s", err, tc.want)
			}
		})
	}
}

// TestEnding holds what is written of an end, where, and the exit status.
func TestEnding(t *testing.T) {
	t.Parallel()
	joined := errors.Join(errors.New("model a@1: absent"), errors.New("and more"))
	long := errors.New(strings.Repeat("é", maxTermination))
	for name, tc := range map[string]struct {
		err         error
		status      int
		last        string // line of the log
		termination string
	}{
		"by a signal":         {nil, 0, "", "before"},
		"for a reason":        {joined, 1, "double: model a@1: absent; and more", "double: model a@1: absent; and more"},
		"a wrong environment": {errors.Join(env.Faultf("PORT", "x"), env.Faultf("Y", "z")), 2, "Y: z", "double: the environment is wrong: PORT: x; Y: z"},
		"a long reason":       {long, 1, "double: " + long.Error(), "double: " + strings.Repeat("é", maxTermination/2-4)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "termination-log")
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			if status := ending("double", tc.err, &log, path); status != tc.status {
				t.Errorf("exit status %d, want %d", status, tc.status)
			}
			lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
			if last := lines[len(lines)-1]; last != tc.last {
				t.Errorf("last line %q, want %q", last, tc.last)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != tc.termination {
				t.Errorf("termination log %q, %v, want %q", text, err, tc.termination)
			}
		})
	}
}

// TestEndingOutsideAContainer holds that no termination log is made where there
// is none.
func TestEndingOutsideAContainer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "termination-log")
	var log strings.Builder
	if status := ending("double", errors.New("x"), &log, path); status != 1 || log.String() != "double: x\n" {
		t.Errorf("%d, %q", status, log.String())
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
}

func TestIsPermanent(t *testing.T) {
	t.Parallel()
	away := errors.New("S3 unreachable")
	for name, tc := range map[string]struct {
		err    error
		tries  int
		waited time.Duration
		want   bool
	}{
		"S3 away":                    {away, 9, maxWait - time.Second, false},
		"S3 away for long":           {away, 2, maxWait, true},
		"refused by ONNX Runtime":    {errSession, sessionTries - 1, time.Second, false},
		"refused as often as asked":  {errSession, sessionTries, time.Second, true},
		"no ONNX Runtime":            {errStart, 1, 0, true},
		"larger than all the memory": {pool.ErrTooLarge, 1, 0, true},
	} {
		if got := isPermanent(fmt.Errorf("load: %w", tc.err), tc.tries, tc.waited); got != tc.want {
			t.Errorf("%s: %v, expected %v", name, got, tc.want)
		}
	}
}
