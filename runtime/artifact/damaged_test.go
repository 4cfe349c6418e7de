package artifact

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/artifact/s3test"
	"github.com/modelserveai/modelserve/runtime/model"
)

// damaged has the store answer for objects of this suffix as the local one does
// for those whose files are damaged.
func (f *fakeS3) damaged(suffix string) {
	f.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, suffix) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "<Error><Code>"+objectDamaged+"</Code><Message>damaged</Message></Error>")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// TestPublishingPastADamagedVersion takes the next number, and compares with
// nothing.
func TestPublishingPastADamagedVersion(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	publish(t, store, draft(t, "re", s3test.Noise(1, 100)), Publishing{})
	s3.damaged("/1/" + model.ManifestFile)
	if p := publish(t, store, draft(t, "re", s3test.Noise(1, 100)), Publishing{}); p.Ref.Version != 2 || p.Unchanged {
		t.Errorf("published %+v", p)
	}
	named := draft(t, "re", s3test.Noise(1, 100))
	named.Version = 1
	if p, err := store.Publish(t.Context(), named, Publishing{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the damaged number: %+v, %v", p, err)
	}
}

// TestReadersWorkBesideADamagedNotice holds that readers look by themselves until
// the next one.
func TestReadersWorkBesideADamagedNotice(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	publish(t, store, draft(t, "re", s3test.Noise(1, 100)), Publishing{})
	before, err := store.Generation(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s3.damaged(generationKey)
	during, err := store.Generation(t.Context(), before)
	if err != nil || during == before {
		t.Errorf("damaged: %q after %q, %v", during, before, err)
	}
	s3.Inject(nil)
	publish(t, store, draft(t, "re", s3test.Noise(2, 100)), Publishing{})
	if after, err := store.Generation(t.Context(), during); err != nil || after == during || after == before {
		t.Errorf("afterwards: %q, %v", after, err)
	}
}
