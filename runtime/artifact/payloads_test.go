package artifact

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPayloads holds that values of executions are stored, read, visited and removed,
// and that nothing else of the bucket is written.
func TestPayloads(t *testing.T) {
	t.Parallel()
	fake := newFakeS3(t)
	p := fake.store(t).Payloads()
	fake.Put(t, "inputs/acme/in", "text/plain", []byte("hello"))
	fake.Put(t, "models/m/1/model.json", "application/json", []byte("{}"))
	for i := range 3 {
		if err := p.Put(t.Context(), fmt.Sprintf("payloads/acme/x%d/a", i), "application/json", []byte(`{"a":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(key string) (string, error) {
		body, size, err := p.Open(t.Context(), key)
		if err != nil {
			return "", err
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		if int64(len(data)) != size {
			t.Errorf("%s: %d bytes, want %d", key, len(data), size)
		}
		return string(data), err
	}
	if got, err := read("payloads/acme/x0/a"); got != `{"a":1}` || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := read("inputs/acme/in"); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, key := range []string{"models/m/1/model.json", "payloads/acme/x0/b", "payloads/../models/m/1/model.json", "inputs/", "inputs/../models/m/1/model.json"} {
		if got, err := read(key); !errors.Is(err, ErrNoPayload) {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	var seen []string
	err := p.Walk(t.Context(), "payloads/", func(key string, modified time.Time) error {
		if modified.IsZero() {
			t.Errorf("%s has no time", key)
		}
		seen = append(seen, key)
		return nil
	})
	if diff := cmp.Diff([]string{"payloads/acme/x0/a", "payloads/acme/x1/a", "payloads/acme/x2/a"}, seen); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := p.Delete(t.Context(), "payloads/acme/x1/"); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"", "payloads/", "models/", "payloads/acme", "payloads/../"} {
		if err := p.Delete(t.Context(), prefix); err == nil {
			t.Errorf("removed %q", prefix)
		}
	}
	if p.Put(t.Context(), "models/m/1/model.json", "", nil) == nil || p.Put(t.Context(), "payloads/a//b", "", nil) == nil ||
		p.Walk(t.Context(), "models/", nil) == nil {
		t.Error("wrote or visited what is no payload")
	}
	fake.leaves(t, "inputs/acme/in", "models/m/1/model.json", "payloads/acme/x0/a", "payloads/acme/x2/a")
}
