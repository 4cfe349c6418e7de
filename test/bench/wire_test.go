package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestExchange(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 3*answerBuffer+17)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "question" || r.Header.Get("X-Its") != "own" || r.Host != "other" {
			w.WriteHeader(http.StatusTeapot)
		}
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, "too many")
			return
		}
		if r.URL.Path != "/chunked" {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
		}
		fmt.Fprint(w, large)
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	good := newTarget(address, "/", []byte("question"), "X-Its", "own", "Host", "other")
	refused := newTarget(address, "/refused", []byte("question"), "X-Its", "own", "Host", "other")
	inChunks := newTarget(address, "/chunked", []byte("question"), "X-Its", "own", "Host", "other")
	c, err := good.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 { // on one connection
		if err := c.exchange(good.request); err != nil {
			t.Fatal(err)
		}
		if err := c.exchange(inChunks.request); err != nil {
			t.Fatal(err)
		}
		var status *statusError
		if err := c.exchange(refused.request); !errors.As(err, &status) || status.status != 429 || status.body != "too many" {
			t.Fatalf("got %v, want status 429", err)
		}
	}
}

func TestExchangeRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no length":    "HTTP/1.1 200 OK\r\n\r\n",
		"no chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"short chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly",
		"no HTTP":      "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"short answer": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nonly",
		"no end":       "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", answerBuffer),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lc net.ListenConfig
			listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				peer, err := listener.Accept()
				if err != nil {
					return
				}
				defer peer.Close()
				if _, err := http.ReadRequest(bufio.NewReader(peer)); err == nil {
					_, _ = io.WriteString(peer, answer)
				}
			}()
			if err := newTarget(listener.Addr().String(), "/", nil).once(t.Context()); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func TestLoadCountsEveryAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	t.Cleanup(server.Close)
	target := newTarget(strings.TrimPrefix(server.URL, "http://"), "/", nil)
	out, err := target.load(t.Context(), 3, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if out.answers < 3*leastAnswers || len(out.each) != out.answers || out.rate <= 0 {
		t.Errorf("got %d answers, %d times, %f/s", out.answers, len(out.each), out.rate)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := target.load(ctx, 3, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestSteadyRate(t *testing.T) {
	t.Parallel()
	ms := func(at ...int) (out []time.Duration) {
		for _, n := range at {
			out = append(out, time.Duration(n)*time.Millisecond)
		}
		return out
	}
	tests := map[string]struct {
		ends    []time.Duration
		clients int
		stopped time.Duration
		want    float64
	}{
		"one client":                {ms(50, 100, 200, 300, 400), 1, 310 * time.Millisecond, 3 / 0.25},
		"batches of two, cut":       {ms(100, 100, 200, 200, 300, 300, 400, 400), 2, 350 * time.Millisecond, 20},
		"nothing after a first lap": {ms(100, 100), 2, 50 * time.Millisecond, 20},
		"stopped too early":         {ms(100, 100, 200, 200), 2, 50 * time.Millisecond, 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := steadyRate(test.ends, test.clients, test.stopped); got < test.want-1e-9 || got > test.want+1e-9 {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
