package artifact

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

func TestNumbersAreNeverUsedTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		published []int // versions, before
		deleted   []int // one by one; nil is the whole model
		named     int   // a number to publish as, 0 is none
		want      int   // 0 is a refusal
	}{
		{"after the newest was deleted", []int{1, 2}, []int{2}, 0, 3},
		{"after the last one was deleted", []int{1}, []int{1}, 0, 2},
		{"after the model was deleted", []int{1, 2}, nil, 0, 3},
		{"after an older one was deleted", []int{1, 2}, []int{1}, 0, 3},
		{"after all were deleted one by one", []int{1, 2, 9}, []int{9, 1, 2}, 0, 10},
		{"a deleted number", []int{1, 2}, []int{2}, 2, 0},
		{"a number of a deleted model", []int{1, 2}, nil, 1, 0},
		{"a number that nobody used", []int{1, 9}, []int{9}, 5, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store := newFakeS3(t).store(t)
			for _, v := range tc.published {
				d := draft(t, "re", s3test.Noise(uint64(v), 100))
				d.Version = v
				publish(t, store, d, Publishing{})
			}
			for _, v := range tc.deleted {
				if err := store.Delete(t.Context(), model.Ref{Name: "re", Version: v}); err != nil {
					t.Fatal(err)
				}
			}
			if tc.deleted == nil {
				if _, err := store.DeleteAll(t.Context(), "re"); err != nil {
					t.Fatal(err)
				}
			}
			d := draft(t, "re", s3test.Noise(100, 100))
			d.Version = tc.named
			p, err := store.Publish(t.Context(), d, Publishing{})
			if tc.want == 0 {
				if problem.CodeOf(err) != problem.VersionExists || !errors.Is(err, ErrDeleted) || !strings.Contains(err.Error(), "was deleted") {
					t.Errorf("Publish: %+v, %v", p, err)
				}
				return
			}
			if err != nil || p.Ref.Version != tc.want {
				t.Errorf("Publish: %+v, %v; want version %d", p, err, tc.want)
			}
		})
	}
}

// TestNumberThatWasDeletedMeanwhile is a publisher whose upload takes longer
// than another's publishing and deleting of the same number.
func TestNumberThatWasDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ named, want int }{"free": {0, 2}, "named": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			fast, slow := s3.store(t), s3.store(t)
			var between atomic.Bool
			s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "-"+model.ModelFile) && between.CompareAndSwap(false, true) {
					publish(t, fast, draft(t, "re", s3test.Noise(1, 100)), Publishing{})
					if err := fast.Delete(t.Context(), model.Ref{Name: "re", Version: 1}); err != nil {
						t.Error(err)
					}
				}
				next.ServeHTTP(w, r)
			})
			d := draft(t, "re", s3test.Noise(2, 100))
			d.Version = tc.named
			p, err := slow.Publish(t.Context(), d, Publishing{})
			versions, _ := slow.versions(t.Context(), "re")
			if tc.want == 0 {
				if !errors.Is(err, ErrDeleted) || len(versions) != 0 {
					t.Errorf("Publish: %+v, %v; versions %v", p, err, versions)
				}
				return
			}
			if err != nil || p.Ref.Version != tc.want || !slices.Equal(versions, []int{tc.want}) {
				t.Errorf("Publish: %+v, %v; versions %v", p, err, versions)
			}
		})
	}
}

func TestVersionsHaveAnUpperBound(t *testing.T) {
	t.Parallel()
	store := newFakeS3(t).store(t)
	d := draft(t, "race", s3test.Noise(1, 100))
	d.Version = infer.MaxVersion + 1
	if _, err := store.Publish(t.Context(), d, Publishing{}); problem.CodeOf(err) != problem.InvalidArgument {
		t.Errorf("above the bound: %v", err)
	}
	d.Version = infer.MaxVersion
	publish(t, store, d, Publishing{})
	_, err := store.Publish(t.Context(), draft(t, "race", s3test.Noise(2, 100)), Publishing{})
	if problem.CodeOf(err) != problem.Conflict || !strings.Contains(err.Error(), "no next version") {
		t.Errorf("after the highest: %v", err)
	}
	if p := publish(t, store, draft(t, "race", s3test.Noise(1, 100)), Publishing{}); !p.Unchanged {
		t.Errorf("the highest again: %+v", p)
	}
	low := draft(t, "race", s3test.Noise(2, 100))
	low.Version = 3
	publish(t, store, low, Publishing{})
}

// TestDeletedThatCannotBeRead refuses to guess which numbers are free.
func TestDeletedThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":     "x",
		"of another":   `{"schema":1,"name":"other","deleted":[]}`,
		"falling":      `{"schema":1,"name":"re","deleted":[[5,6],[1,2]]}`,
		"of tomorrow":  `{"schema":2,"name":"re","deleted":[]}`,
		"out of range": `{"schema":1,"name":"re","deleted":[[1,2147483648]]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := newFakeS3(t)
			store := s3.store(t)
			if err := store.put(t.Context(), deletedKey("re"), strings.NewReader(text), condition{}); err != nil {
				t.Fatal(err)
			}
			_, err := store.Publish(t.Context(), draft(t, "re", s3test.Noise(1, 100)), Publishing{})
			if problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), deletedKey("re")) {
				t.Errorf("Publish: %v", err)
			}
			if names, err := store.Names(t.Context()); err != nil || len(names) > 0 {
				t.Errorf("names %v, %v", names, err)
			}
		})
	}
}

func TestDeletedIsJoined(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		have []span
		add  []int
		want []span
	}{
		{"none", nil, []int{3}, []span{{3, 3}}},
		{"beside", []span{{1, 2}}, []int{3}, []span{{1, 3}}},
		{"between", []span{{1, 2}, {4, 5}}, []int{3}, []span{{1, 5}}},
		{"apart", []span{{4, 5}}, []int{9, 1, 2}, []span{{1, 2}, {4, 5}, {9, 9}}},
		{"there already", []span{{4, 5}}, []int{4}, []span{{4, 5}}},
	} {
		d := deletedVersions{Schema: model.Schema, Name: "re", Spans: slices.Clone(tc.have)}
		if added := d.add(tc.add); added == slices.Equal(tc.have, tc.want) {
			t.Errorf("%s: added %v", tc.name, added)
		}
		if diff := cmp.Diff(tc.want, d.Spans); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
	d := deletedVersions{Schema: model.Schema, Name: "re"}
	for v := 1; v <= 2*maxSpans+9; v += 2 {
		d.add([]int{v})
	}
	if err := d.check("re"); err != nil || d.Spans[0][0] != 1 || !d.has(1) || d.last() != 2*maxSpans+9 {
		t.Errorf("%v, first %v, last %d", err, d.Spans[0], d.last())
	}
}
