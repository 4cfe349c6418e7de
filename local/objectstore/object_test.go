package objectstore

import (
	"path/filepath"
	"strings"
	"testing"
)

func FuzzKeys(f *testing.F) {
	for _, key := range []string{"a", "a/b", "..", "../../etc/passwd", "", "a//b", "%41", "~", "a~", ".", "x/./y", "\x00", "é", "/lead"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path, err := encodeKey(key)
		if err != nil {
			return
		}
		if !filepath.IsLocal(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
			t.Fatalf("key %q: path %q leaves its folder", key, path)
		}
		if back, ok := decodeKey(path); !ok || back != key {
			t.Fatalf("key %q: path %q reads as %q, %v", key, path, back, ok)
		}
	})
}
