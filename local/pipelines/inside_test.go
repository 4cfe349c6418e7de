package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/local/pipelines"
)

// ask calls a handler by an Inside that has ended with the test.
func ask(t *testing.T, ctx context.Context, handler http.HandlerFunc, body string) (*http.Response, error) {
	t.Helper()
	inside := &pipelines.Inside{Handler: handler}
	t.Cleanup(inside.Wait)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://pipelines/v1/x?y=z", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return inside.RoundTrip(req)
}

// refused is the error of a call that has no answer.
func refused(t *testing.T, ctx context.Context, handler http.HandlerFunc) error {
	t.Helper()
	res, err := ask(t, ctx, handler, "")
	if err == nil {
		_ = res.Body.Close()
	}
	return err
}

func TestAnAnswerFromInside(t *testing.T) {
	t.Parallel()
	res, err := ask(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-A", "1")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("X-A", "too late")
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
	}, "hello")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted || res.Header.Get("X-A") != "1" || string(text) != "POST /v1/x?y=z hello" {
		t.Errorf("%v: %+v %s", err, res, text)
	}
}

// TestTheLengthOfAnAnswerFromInside holds that it is known where a network would know it:
// of an error without a length the gateway reads no reason.
func TestTheLengthOfAnAnswerFromInside(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    int64
	}{
		"a problem": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, "no")
		}, 2},
		"a stream": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no") }, -1},
	} {
		res, err := ask(t, t.Context(), tc.handler, "")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.ContentLength != tc.want {
			t.Errorf("%s: a length of %d, want %d", name, res.ContentLength, tc.want)
		}
	}
}

func TestAStreamFromInsideEndsWithItsReader(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	res, err := ask(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		<-r.Context().Done()
		_, err := io.WriteString(w, "second\n")
		ended <- err
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 6)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first\n" {
		t.Errorf("%v: %q", err, first)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("what nobody reads was written")
	}
}

func TestWhoLeavesIsNotKeptFromInside(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	err := refused(t, ctx, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAPanicInsideIsAnError(t *testing.T) {
	t.Parallel()
	if refused(t, t.Context(), func(http.ResponseWriter, *http.Request) { panic("no") }) == nil {
		t.Error("there was an answer")
	}
	res, err := ask(t, t.Context(), func(http.ResponseWriter, *http.Request) {}, "")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("an empty answer: %v", err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || len(text) > 0 {
		t.Errorf("%v: %q", err, text)
	}
}
