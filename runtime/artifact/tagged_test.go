package artifact

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestATagIsOfTheBytes holds that a listing distinguishes a version from another
// that had its number before, as where somebody emptied the bucket by hand.
func TestATagIsOfTheBytes(t *testing.T) {
	t.Parallel()
	s := newFakeS3(t).store(t)
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	publish(t, s, draft(t, "m", s3test.Noise(2, 100)), Publishing{})
	tagged := func() []model.Listed {
		t.Helper()
		listed, err := s.Tagged(t.Context(), "m")
		if err != nil || len(listed) != 2 || listed[0].Version != 2 || listed[1].Version != 1 || listed[0].Tag == "" || listed[0].Tag == listed[1].Tag {
			t.Fatalf("%+v, %v", listed, err)
		}
		return listed
	}
	first := tagged()
	if diff := cmp.Diff(first, tagged()); diff != "" {
		t.Errorf("nothing changed: -first +again\n%s", diff)
	}
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.removeAll(t.Context(), []string{deletedKey("m")}); err != nil {
		t.Fatal(err)
	}
	other := draft(t, "m", s3test.Noise(3, 100))
	other.Version = 1
	publish(t, s, other, Publishing{})
	second := tagged()
	if second[0] != first[0] || second[1].Tag == first[1].Tag {
		t.Errorf("before %+v, after %+v", first, second)
	}
}
