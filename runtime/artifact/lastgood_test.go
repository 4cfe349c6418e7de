package artifact

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

func policyFolder(t *testing.T) *PolicyFolder {
	t.Helper()
	p, err := NewPolicyFolder(filepath.Join(t.TempDir(), "policies"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// broken is a LastGood whose disk takes nothing, or gives nothing.
type broken struct{ err error }

func (b broken) KeptPolicy(context.Context, string) ([]byte, error) { return nil, b.err }

func (b broken) KeepPolicy(context.Context, string, int64, []byte) error { return b.err }

// TestWhatIsKeptIsVerified holds what becomes of a policy that is kept beyond a
// process, when that starts again beside an older one that somebody put back.
func TestWhatIsKeptIsVerified(t *testing.T) {
	t.Parallel()
	signer, other := newSigner(t), newSigner(t)
	trusted := sign.NewVerifier(signer.Public())
	for name, tc := range map[string]struct {
		change  func(t *testing.T, path string)
		trusts  *sign.Verifier
		follows int
	}{
		"as it was":     {func(*testing.T, string) {}, trusted, 2},
		"gone":          {func(t *testing.T, path string) { remove(t, path) }, trusted, 1},
		"altered":       {func(t *testing.T, path string) { alter(t, path) }, trusted, 1},
		"cut short":     {func(t *testing.T, path string) { truncate(t, path) }, trusted, 1},
		"too large":     {func(t *testing.T, path string) { extend(t, path) }, trusted, 1},
		"a folder":      {func(t *testing.T, path string) { remove(t, path); mkdir(t, path) }, trusted, 1},
		"other keys":    {func(*testing.T, string) {}, sign.NewVerifier(other.Public()), 0},
		"no keys":       {func(*testing.T, string) {}, nil, 1},
		"one key more":  {func(*testing.T, string) {}, sign.NewVerifier(other.Public(), signer.Public()), 2},
		"of no models'": {func(t *testing.T, path string) { mkdir(t, filepath.Join(filepath.Dir(path), "n.json")) }, trusted, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := twoVersions(t)
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(1)); err != nil {
				t.Fatal(err)
			}
			first := string(f.Object(t, "models/m/policy.json"))
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(2)); err != nil {
				t.Fatal(err)
			}
			kept := policyFolder(t)
			if p, err := NewPolicyReader(s, trusted, slog.New(slog.DiscardHandler)).Keeping(kept).Policy(t.Context(), "m"); err != nil || p.Aliases[model.Stable] != 2 {
				t.Fatalf("%+v, %v", p, err)
			}
			tc.change(t, filepath.Join(kept.dir, "m.json"))
			f.set(t, first)
			r := NewPolicyReader(s, tc.trusts, slog.New(slog.DiscardHandler)).Keeping(kept)
			for range 2 {
				if p, err := r.Policy(t.Context(), "m"); err != nil || p.Aliases[model.Stable] != tc.follows {
					t.Errorf("%+v, %v; want version %d", p, err, tc.follows)
				}
			}
		})
	}
}

// TestACallDoesNotFailForWhatIsKept holds that a disk that takes nothing is logged
// once, for each of reading and writing, and that policies are followed as without.
func TestACallDoesNotFailForWhatIsKept(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	_, s := twoVersions(t)
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(1)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := NewPolicyReader(s, sign.NewVerifier(signer.Public()), slog.New(slog.NewTextHandler(&log, nil))).Keeping(broken{errors.New("the disk is full")})
	for range 3 {
		if p, err := r.Policy(t.Context(), "m"); err != nil || p.Aliases[model.Stable] != 1 {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if n := strings.Count(log.String(), "is not kept"); n != 1 {
		t.Errorf("logged %d times: %s", n, &log)
	}
}

// database is a LastGood of several processes, which may be away.
type database struct {
	LastGood

	err   error
	hang  bool
	asked int
}

func (s *database) KeptPolicy(ctx context.Context, name string) ([]byte, error) {
	s.asked++
	if s.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.LastGood.KeptPolicy(ctx, name)
}

func (s *database) KeepPolicy(ctx context.Context, name string, generation int64, data []byte) error {
	if s.err != nil || s.hang {
		return s.err
	}
	return s.LastGood.KeepPolicy(ctx, name, generation, data)
}

// TestAPolicyThatAnotherProcessKeptCounts holds what one process follows of what another has
// kept, while what keeps it is there and while it is away.
func TestAPolicyThatAnotherProcessKeptCounts(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	f, s := twoVersions(t)
	documents := make([]string, 4) // by how many changes they have
	for change, version := range []int{0, 1, 2, 1} {
		if version == 0 {
			continue
		}
		if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(version)); err != nil {
			t.Fatal(err)
		}
		documents[change] = string(f.Object(t, "models/m/policy.json"))
	}
	kept := &database{LastGood: policyFolder(t)}
	reader := func() *PolicyReader {
		return NewPolicyReader(s, sign.NewVerifier(signer.Public()), slog.New(slog.DiscardHandler)).Keeping(kept)
	}
	one, other := reader(), reader()
	follows := func(what string, r *PolicyReader, change int) {
		t.Helper()
		want, err := model.ParsePolicy("m", []byte(documents[change]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Policy(t.Context(), "m"); err != nil || !cmp.Equal(*got, want.Policy) {
			t.Errorf("%s: %+v, %v; want the policy of change %d", what, got, err, change)
		}
	}
	f.set(t, documents[1])
	follows("at first", other, 1)
	f.set(t, documents[2])
	follows("the second", one, 2)
	f.set(t, documents[1])
	follows("the first is put back, where only the other process saw the second", other, 2)

	kept.err = errors.New("away")
	f.set(t, documents[3])
	follows("a newer one, while what keeps them is away", other, 3)
	f.set(t, documents[2])
	follows("an older one, likewise", other, 3)
	fresh := reader()
	f.set(t, documents[1])
	follows("an older one, by a process that knows none", fresh, 1)
	kept.err = nil
	follows("the same, once what keeps them is back", fresh, 2)
	f.set(t, documents[3])
	follows("the newest, which was not kept when it was first read", other, 3)
	f.set(t, documents[2])
	follows("by then it is kept", fresh, 3)

	kept.hang, kept.asked = true, 0
	for range 3 {
		follows("while it does not answer", fresh, 3)
	}
	if kept.asked != 1 {
		t.Errorf("it was asked %d times", kept.asked)
	}
}

// TestTheNewestPolicyIsKept has several processes keep generations at once.
func TestTheNewestPolicyIsKept(t *testing.T) {
	t.Parallel()
	signer, kept := newSigner(t), policyFolder(t)
	document := func(generation int64) []byte {
		state := model.PolicyState{Schema: model.Schema, Name: "m", Generation: generation}
		data, err := state.Marshal(signer.Sign)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var group sync.WaitGroup
	for generation := range int64(20) {
		data := document(generation + 1)
		group.Go(func() {
			p, err := NewPolicyFolder(kept.dir) // another process
			if err == nil {
				err = p.KeepPolicy(t.Context(), "m", generation+1, data)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, err := kept.KeptPolicy(t.Context(), "m"); err != nil || !cmp.Equal(got, document(20)) {
		t.Errorf("%s, %v", got, err)
	}
	for _, name := range []string{"../m", "", ".lock", "a/b", "M"} {
		if _, err := kept.KeptPolicy(t.Context(), name); err == nil {
			t.Errorf("%q was read", name)
		}
		if err := kept.KeepPolicy(t.Context(), name, 1, document(1)); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func alter(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(data []byte) []byte {
		return bytes.Replace(data, []byte(`"stable":2`), []byte(`"stable":9`), 1)
	})
}

func truncate(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(data []byte) []byte { return data[:len(data)/2] })
}

func extend(t *testing.T, path string) {
	t.Helper()
	edit(t, path, func(data []byte) []byte { return append(data, make([]byte, model.MaxPolicy)...) })
}
