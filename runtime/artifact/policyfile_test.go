package artifact

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// stable is a change that makes a version the stable one.
func stable(version int) func(*model.Policy) error {
	return func(p *model.Policy) error {
		p.Aliases = map[string]int{model.Stable: version}
		return nil
	}
}

// twoVersions is a store with m@1 and m@2.
func twoVersions(t *testing.T) (*fakeS3, *Store) {
	t.Helper()
	f := newFakeS3(t)
	s := f.store(t)
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	publish(t, s, draft(t, "m", s3test.Noise(2, 100)), Publishing{})
	return f, s
}

// set is what an attacker writes in place of m's policy.
func (f *fakeS3) set(t *testing.T, text string) {
	t.Helper()
	f.Put(t, "models/m/policy.json", "", []byte(text))
}

func TestPolicyIsChangedAndRead(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	if p, err := s.Policy(t.Context(), "m"); err != nil || !cmp.Equal(p, &model.Policy{}) {
		t.Fatalf("before any: %+v, %v", p, err)
	}
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
		t.Fatal(err)
	}
	want := &model.Policy{Aliases: map[string]int{"stable": 1}, Split: []model.Share{{Version: 2, Weight: 10}, {Version: 1, Weight: 90}}}
	got, err := s.ChangePolicy(t.Context(), "m", Changing{}, func(p *model.Policy) error {
		p.Split = want.Split
		return nil
	})
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("changed: %v\n%s", err, cmp.Diff(want, got))
	}
	if got, err = s.Policy(t.Context(), "m"); err != nil || !cmp.Equal(want, got) {
		t.Errorf("read: %v\n%s", err, cmp.Diff(want, got))
	}
	// It is no version and no model.
	if v, err := s.Versions(t.Context(), "m"); err != nil || !cmp.Equal(v, []int{2, 1}) {
		t.Errorf("versions %v, %v", v, err)
	}
	if n, err := s.Names(t.Context()); err != nil || !cmp.Equal(n, []string{"m"}) {
		t.Errorf("names %v, %v", n, err)
	}
	if text := string(f.Object(t, "models/m/policy.json")); !strings.HasPrefix(text, `{"policy":{"schema":1,"name":"m","generation":`) || strings.Contains(text, "signatures") {
		t.Error(text)
	}
}

func TestBadChangesAreRefused(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	mine := errors.New("the change's own")
	for name, tc := range map[string]struct {
		model  string
		change func(*model.Policy) error
		want   string
		code   problem.Code
	}{
		"an alias of no version": {"m", stable(3), "version 3 is not published; the newest version is 2", problem.InvalidArgument},
		"a share of no version": {"m", func(p *model.Policy) error {
			p.Split = []model.Share{{Version: 7, Weight: 1}}
			return nil
		}, "version 7 is not published", problem.InvalidArgument},
		"a bad alias": {"m", func(p *model.Policy) error {
			p.Aliases = map[string]int{"latest": 1}
			return nil
		}, "cannot be set", problem.InvalidArgument},
		"no model":           {"other", stable(1), "not published", problem.ModelNotFound},
		"no name":            {"../m", stable(1), "expected 1 to 63", problem.InvalidArgument},
		"the change's error": {"m", func(*model.Policy) error { return mine }, mine.Error(), problem.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.ChangePolicy(t.Context(), tc.model, Changing{}, tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.want) || problem.CodeOf(err) != tc.code {
				t.Errorf("%v (%s), want %q (%s)", err, problem.CodeOf(err), tc.want, tc.code)
			}
		})
	}
	t.Cleanup(func() {
		if keys := f.Keys(t); slices.ContainsFunc(keys, func(key string) bool { return strings.HasSuffix(key, model.PolicyFile) }) {
			t.Errorf("something was written: %v", keys)
		}
	})
}

func TestChangesAtOnceAllCount(t *testing.T) {
	t.Parallel()
	_, s := twoVersions(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			_, err := s.ChangePolicy(t.Context(), "m", Changing{}, func(p *model.Policy) error {
				if p.Aliases == nil {
					p.Aliases = map[string]int{}
				}
				p.Aliases["a"+string(rune('a'+i))] = 1
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if p, err := s.Policy(t.Context(), "m"); err != nil || len(p.Aliases) != 8 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAChangeWhoseAnswerIsLostIsMadeOnce(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	var lost atomic.Bool
	f.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, model.PolicyFile) && !lost.Swap(true) {
			next.ServeHTTP(discard{http.Header{}}, r)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	calls := 0
	_, err := s.ChangePolicy(t.Context(), "m", Changing{}, func(p *model.Policy) error {
		calls++
		return stable(1)(p)
	})
	if err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// TestAnAlteredPolicyIsNotFollowed holds what an attacker with the bucket, but
// without the key, can do to a policy.
func TestAnAlteredPolicyIsNotFollowed(t *testing.T) {
	t.Parallel()
	const key = "models/m/policy.json"
	signer, other := newSigner(t), newSigner(t)
	for name, tc := range map[string]struct {
		attack func(t *testing.T, f *fakeS3, s *Store, first string)
		want   string // in the log
	}{
		"altered": {func(t *testing.T, f *fakeS3, _ *Store, _ string) {
			f.set(t, strings.Replace(string(f.Object(t, key)), `"stable":2`, `"stable":1`, 1))
		}, "signature wrong"},
		"unsigned": {func(t *testing.T, _ *fakeS3, s *Store, _ string) {
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
				t.Fatal(err)
			}
		}, "unsigned"},
		"signed by another": {func(t *testing.T, _ *fakeS3, s *Store, _ string) {
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: other}, stable(1)); err != nil {
				t.Fatal(err)
			}
		}, "signature wrong"},
		"an older one put back": {func(t *testing.T, f *fakeS3, _ *Store, first string) {
			f.set(t, first)
		}, "older than the last good one"},
		"another model's": {func(t *testing.T, f *fakeS3, s *Store, _ string) {
			publish(t, s, draft(t, "n", s3test.Noise(1, 100)), Publishing{})
			if _, err := s.ChangePolicy(t.Context(), "n", Changing{Signer: signer}, stable(1)); err != nil {
				t.Fatal(err)
			}
			f.set(t, string(f.Object(t, "models/n/policy.json")))
		}, `name: expected \"m\", got \"n\"`},
		"no policy": {func(t *testing.T, f *fakeS3, _ *Store, _ string) { f.set(t, "{}") }, model.PolicyFile},
		"no JSON":   {func(t *testing.T, f *fakeS3, _ *Store, _ string) { f.set(t, "\x00") }, model.PolicyFile},
		"too large": {func(t *testing.T, f *fakeS3, _ *Store, _ string) {
			f.set(t, string(f.Object(t, key))+strings.Repeat(" ", model.MaxPolicy))
		}, "policy.json: it has more than 65536 bytes"},
		"more in it": {func(t *testing.T, f *fakeS3, _ *Store, _ string) {
			f.set(t, strings.Replace(string(f.Object(t, key)), `"schema"`, `"more":1,"schema"`, 1))
		}, "more"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := twoVersions(t)
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(1)); err != nil {
				t.Fatal(err)
			}
			first := string(f.Object(t, key))
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer}, stable(2)); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			kept := policyFolder(t)
			r := NewPolicyReader(s, sign.NewVerifier(signer.Public()), slog.New(slog.NewTextHandler(&log, nil))).Keeping(kept)
			wants := func(version int) {
				t.Helper()
				if p, err := r.Policy(t.Context(), "m"); err != nil || p.Aliases[model.Stable] != version {
					t.Fatalf("%+v, %v, want %d", p, err, version)
				}
			}
			wants(2)
			tc.attack(t, f, s, first)
			wants(2)
			wants(2)
			if n := strings.Count(log.String(), "not followed"); n != 1 || !strings.Contains(log.String(), tc.want) {
				t.Errorf("logged %d times, want %q: %s", n, tc.want, log.String())
			}
			// A process that starts again follows what was the newest before.
			r = NewPolicyReader(s, sign.NewVerifier(signer.Public()), slog.New(slog.DiscardHandler)).Keeping(kept)
			wants(2)
			wants(2)
			if name != "an older one put back" { // which is good for one who knows no better
				if p, err := NewPolicyReader(s, sign.NewVerifier(signer.Public()), slog.New(slog.DiscardHandler)).Policy(t.Context(), "m"); err != nil || !cmp.Equal(p, &model.Policy{}) {
					t.Errorf("a reader that knew none: %+v, %v", p, err)
				}
			}
			// Its owner puts things right, and everyone follows.
			if _, err := s.ChangePolicy(t.Context(), "m", Changing{Signer: signer, Afresh: true}, stable(1)); err != nil {
				t.Fatal(err)
			}
			wants(1)
		})
	}
}

func TestAChangeDoesNotSignWhatOthersWrote(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	_, s := twoVersions(t)
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
		t.Fatal(err)
	}
	how := Changing{Signer: signer, Verifier: sign.NewVerifier(signer.Public())}
	if _, err := s.ChangePolicy(t.Context(), "m", how, func(*model.Policy) error { return nil }); problem.CodeOf(err) != problem.Conflict || !errors.Is(err, sign.ErrUnsigned) {
		t.Errorf("error %v", err)
	}
	how.Afresh = true
	if p, err := s.ChangePolicy(t.Context(), "m", how, func(*model.Policy) error { return nil }); err != nil || !cmp.Equal(p, &model.Policy{}) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestAPolicyIsNoManifest holds that a signature of one kind of object is none
// of the other.
func TestAPolicyIsNoManifest(t *testing.T) {
	t.Parallel()
	body := model.PolicyState{Schema: 1, Name: "m", Generation: 1}
	data, err := body.Marshal(newSigner(t).Sign)
	if err != nil {
		t.Fatal(err)
	}
	p, err := model.ParsePolicy("m", data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.ParseManifest(p.Signed); err == nil {
		t.Error("a signed policy is a manifest too")
	}
}

func TestAReaderReportsFaultsOfS3(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	r := NewPolicyReader(s, nil, slog.New(slog.DiscardHandler))
	f.Inject(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) })
	if _, err := r.Policy(t.Context(), "m"); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("error %v", err)
	}
}

func TestDeleteHeedsThePolicy(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
		t.Fatal(err)
	}
	err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 1})
	if problem.CodeOf(err) != problem.Conflict || !strings.Contains(err.Error(), `m@1 is used by alias "stable" of its policy`) {
		t.Errorf("error %v", err)
	}
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, func(p *model.Policy) error {
		*p = model.Policy{Split: []model.Share{{Version: 1, Weight: 1}}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 1}); problem.CodeOf(err) != problem.Conflict || !strings.Contains(err.Error(), "the split") {
		t.Errorf("error %v", err)
	}
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 3}); problem.CodeOf(err) != problem.ModelNotFound {
		t.Errorf("error %v", err)
	}
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 2}); err != nil {
		t.Fatal(err)
	}
	// The last goes, and the policy with it.
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 1}); err != nil {
		t.Fatal(err)
	}
	f.leaves(t, deletedKey("m"), generationKey)
}

func TestDeleteAll(t *testing.T) {
	t.Parallel()
	f, s := twoVersions(t)
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
		t.Fatal(err)
	}
	refs, err := s.DeleteAll(t.Context(), "m")
	if err != nil || !cmp.Equal(refs, []model.Ref{{Name: "m", Version: 2}, {Name: "m", Version: 1}}) {
		t.Errorf("%v, %v", refs, err)
	}
	f.leaves(t, deletedKey("m"), generationKey)
	if _, err := s.DeleteAll(t.Context(), "m"); problem.CodeOf(err) != problem.ModelNotFound {
		t.Errorf("again: %v", err)
	}
	// A model published anew begins anew, also for those who remember.
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	if p, err := s.Policy(t.Context(), "m"); err != nil || !cmp.Equal(p, &model.Policy{}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestGenerationMovesWithEveryChange(t *testing.T) {
	t.Parallel()
	f := newFakeS3(t)
	s := f.store(t)
	at := ""
	moved := func(what string, want bool) {
		t.Helper()
		now, err := s.Generation(t.Context(), at)
		if err != nil || (now != at) != want {
			t.Fatalf("%s: %q after %q, %v", what, now, at, err)
		}
		at = now
	}
	moved("nothing there", false)
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	moved("published", true)
	moved("asked again", false)
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	moved("the same bytes", false)
	publish(t, s, draft(t, "m", s3test.Noise(2, 100)), Publishing{})
	moved("a second version", true)
	if _, err := s.ChangePolicy(t.Context(), "m", Changing{}, stable(1)); err != nil {
		t.Fatal(err)
	}
	moved("a policy", true)
	if err := s.Delete(t.Context(), model.Ref{Name: "m", Version: 2}); err != nil {
		t.Fatal(err)
	}
	moved("a version deleted", true)
	if names, err := s.Names(t.Context()); err != nil || !cmp.Equal(names, []string{"m"}) {
		t.Errorf("names %v, %v", names, err)
	}

	// Asking costs a conditional GET and no body.
	var answers sync.Map
	f.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := &recorder{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		answers.Store(r.Method+" "+r.Header.Get("If-None-Match"), rec.status)
	})
	moved("nothing", false)
	if status, ok := answers.Load("GET " + at); !ok || status != http.StatusNotModified {
		t.Errorf("status %v", status)
	}
	f.Inject(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) })
	if _, err := s.Generation(t.Context(), at); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("error %v", err)
	}
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// TestANoticeThatFailsUndoesNothing holds that what is committed is published.
func TestANoticeThatFailsUndoesNothing(t *testing.T) {
	t.Parallel()
	f := newFakeS3(t)
	s := f.store(t)
	f.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, generationKey) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	began := time.Now()
	publish(t, s, draft(t, "m", s3test.Noise(1, 100)), Publishing{})
	if took := time.Since(began); took > announceTime {
		t.Errorf("took %v", took)
	}
	if v, err := s.Versions(t.Context(), "m"); err != nil || len(v) != 1 {
		t.Errorf("%v, %v", v, err)
	}
}
