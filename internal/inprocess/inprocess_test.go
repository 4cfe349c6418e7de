package inprocess_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/inprocess"
)

func send(t *testing.T, ctx context.Context, handler http.HandlerFunc, body string) (*http.Response, error) { //nolint:revive // t is first
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://service/a%2Fb?c=d", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return inprocess.New(handler).RoundTrip(r)
}

func TestAnAnswerComesAsTheHandlerWritesIt(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	res, err := send(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "in" || r.RequestURI != "/a%2Fb?c=d" || r.Host != "service" {
			t.Errorf("%q %v %s %s", body, err, r.RequestURI, r.Host)
		}
		w.Header().Set("X-A", "b")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("X-Late", "c")
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "two\n")
	}, "in")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusAccepted || res.Header.Get("X-A") != "b" || res.Header.Get("X-Late") != "" || res.ContentLength != -1 {
		t.Errorf("%+v", res)
	}
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	close(next)
	if rest, err := io.ReadAll(lines); string(rest) != "two\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

func TestWhoeverLeavesEndsTheHandler(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	waits := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		<-r.Context().Done()
		ended <- r.Context().Err()
	}
	res, err := send(t, t.Context(), waits, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	_ = res.Body.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := send(t, ctx, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	writes := make(chan error, 1)
	res, err = send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for err == nil {
			_, err = io.WriteString(w, "more")
		}
		writes <- err
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := <-writes; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	if _, err := send(t, t.Context(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ""); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	res, err := send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if text, err := io.ReadAll(res.Body); string(text) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", text, err)
	}
	nothing, err := send(t, t.Context(), func(http.ResponseWriter, *http.Request) {}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nothing.Body.Close() }()
	if text, err := io.ReadAll(nothing.Body); nothing.StatusCode != http.StatusOK || len(text) != 0 || err != nil {
		t.Errorf("%d %q %v", nothing.StatusCode, text, err)
	}
}
