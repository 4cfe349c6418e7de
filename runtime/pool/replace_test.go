package pool_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// digestOf is the digest of the version that answers a call.
func digestOf(t *testing.T, p *pool.Pool, version string) string {
	t.Helper()
	l, err := p.Acquire(t.Context(), "a", version)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	return l.Info().Digest
}

// TestAReplacedVersionIsLoadedAgain holds that a number whose version was
// deleted, and published with other bytes, is answered by those, and that
// requests inside the old bytes end as they began.
func TestAReplacedVersionIsLoadedAgain(t *testing.T) {
	t.Parallel()
	ref := model.Ref{Name: "a", Version: 2}
	for name, tc := range map[string]struct {
		want   string
		models []model.Ref
		digest string
	}{
		"without a version": {"", nil, "sha256:a2second"},
		"by its number":     {"2", nil, "sha256:a2second"},
		"pinned":            {"2", []model.Ref{ref}, "sha256:a2first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := newSource()
				src.tags[ref] = "first"
				p := newPool(t, src, func(c *pool.Config) { c.Models = tc.models })
				defer p.Close()
				if got := digestOf(t, p, tc.want); got != "sha256:a2first" {
					t.Fatal(got)
				}
				src.publish("a", 2, 1) // others change, and this one stays
				time.Sleep(2 * time.Second)
				digestOf(t, p, tc.want)
				if n := src.loadsOf(ref); n != 1 {
					t.Fatalf("loaded %d times", n)
				}
				held, err := p.Acquire(t.Context(), "a", tc.want)
				if err != nil {
					t.Fatal(err)
				}
				src.change(func() { src.tags[ref] = "second" })
				time.Sleep(2 * time.Second)
				if got := digestOf(t, p, tc.want); got != tc.digest {
					t.Errorf("answered by %s, want %s", got, tc.digest)
				}
				if got := held.Info().Digest; got != "sha256:a2first" {
					t.Errorf("a request inside gets %s", got)
				}
				held.Release()
				synctest.Wait()
				if n := src.open.Load(); n != 1 {
					t.Errorf("%d sessions are open", n)
				}
			})
		})
	}
}

// TestAVersionIsReplacedWhileItLoads holds that what a load under way brings in
// is not kept when its number is another's by then.
func TestAVersionIsReplacedWhileItLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource()
		src.delay = 10 * time.Second
		ref := model.Ref{Name: "a", Version: 2}
		src.tags[ref] = "first"
		p := newPool(t, src, nil)
		defer p.Close()
		time.AfterFunc(3*time.Second, func() { src.change(func() { src.tags[ref] = "second" }) })
		digestOf(t, p, "") // either
		if got := digestOf(t, p, ""); got != "sha256:a2second" {
			t.Errorf("answered by %s", got)
		}
		if n := src.loadsOf(ref); n != 2 {
			t.Errorf("loaded %d times", n)
		}
	})
}
