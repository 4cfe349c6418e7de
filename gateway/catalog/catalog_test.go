package catalog_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/catalog"
	"github.com/modelserveai/modelserve/internal/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
)

// store is slow, and counts.
type store struct {
	calls    atomic.Int64
	versions []int
	err      error
}

func (s *store) Names(context.Context) ([]string, error) {
	s.calls.Add(1)
	return []string{"iris"}, s.err
}

func (s *store) Versions(_ context.Context, name string) ([]int, error) {
	s.calls.Add(1)
	time.Sleep(100 * time.Millisecond)
	if name != "iris" && s.err == nil {
		return nil, problem.New(problem.ModelNotFound, "model %q is not published", name)
	}
	return s.versions, s.err
}

func (s *store) Manifest(_ context.Context, ref artifact.Ref) (*artifact.Manifest, string, error) {
	s.calls.Add(1)
	return &artifact.Manifest{Name: ref.Name, Version: ref.Version, Platform: "onnxruntime_onnx"}, "sha256:00", s.err
}

func TestVersionsAreOneLoadASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{versions: []int{1}}
		c := catalog.New(s)
		ask := func(want ...int) {
			t.Helper()
			got, err := c.Versions(t.Context(), "iris")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() { ask(1) })
		}
		group.Wait()
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d loads for a thousand at once", n)
		}
		s.versions = []int{2, 1}
		time.Sleep(time.Second) // a push is seen within two
		ask(2, 1)

		s.err = errors.New("S3 is away")
		time.Sleep(30 * time.Second)
		ask(2, 1)
		time.Sleep(time.Minute)
		if _, err := c.Versions(t.Context(), "iris"); err == nil {
			t.Error("a list of a minute ago is still used")
		}
	})
}

func TestWhatIsNotPublishedIsRememberedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		c := catalog.New(s)
		for range 10 {
			if got, err := c.Versions(t.Context(), "nope"); err != nil || len(got) != 0 {
				t.Fatalf("%v, %v", got, err)
			}
		}
		if n := s.calls.Load(); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

func TestManifest(t *testing.T) {
	t.Parallel()
	s := &store{}
	c := catalog.New(s)
	for range 3 {
		m, err := c.Model(t.Context(), "iris", 2)
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != "iris" || m.Version != 2 || m.Digest != "sha256:00" {
			t.Errorf("%+v", m)
		}
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
	s.err = problem.New(problem.ModelNotFound, "gone")
	if _, err := c.Model(t.Context(), "iris", 3); problem.CodeOf(err) != problem.ModelNotFound {
		t.Errorf("error %v", err)
	}
}
