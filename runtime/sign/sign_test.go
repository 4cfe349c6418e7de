package sign

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.pub")
	made, err := CreateKeys(private, public)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{private, public} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	read, err := ReadSigner(private)
	if err != nil || !read.Public().Equal(made.Public()) {
		t.Errorf("ReadSigner: %v", err)
	}
	v, err := ReadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify([]byte("manifest"), read.Sign([]byte("manifest"))); err != nil {
		t.Error(err)
	}
	for name, signature := range map[string][]byte{
		"of other bytes": read.Sign([]byte("other")), "cut": read.Sign([]byte("manifest"))[:40], "noise": []byte(rand.Text()),
		"too long": bytes.Repeat([]byte("A"), 1<<20),
	} {
		if err := v.Verify([]byte("manifest"), signature); !errors.Is(err, ErrWrongSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CreateKeys(private, public); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	if again, err := ReadVerifier(public); err != nil || again.Verify([]byte("m"), made.Sign([]byte("m"))) != nil {
		t.Errorf("the public key was replaced though the private one was not: %v", err)
	}
	if _, err := ReadSigner(public); err == nil {
		t.Error("a public key was read as a private one")
	}
}
