package lifecycle_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// windowed is overHTTP2 of a client that takes so much of a stream's answer
// before it says more, and 2 GiB of the connection's.
func windowed(stream uint32) string {
	settings := binary.BigEndian.AppendUint32([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04"), stream)
	more := binary.BigEndian.AppendUint32([]byte("\x00\x00\x04\x08\x00\x00\x00\x00\x00"), 1<<31-1-65535)
	return strings.Replace(overHTTP2, "\x00\x00\x00\x04\x00\x00\x00\x00\x00", string(settings)+string(more), 1)
}

// impatient are limits under which a client that does not read is soon cut off.
func impatient() lifecycle.Limits {
	limits := lifecycle.DefaultLimits()
	limits.Reading.Wait = 50 * time.Millisecond
	limits.Reading.Rate = 1 << 30
	return limits
}

// endless writes until that fails.
func endless(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for p := make([]byte, size); ; {
			if _, err := w.Write(p); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	}
}

// TestAClientThatNeverReadsIsCutOff holds that nobody keeps an answer, and what
// it holds, by not reading it.
func TestAClientThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		request string
		answer  http.HandlerFunc
	}{
		"HTTP/1.1":                     {withoutBody, endless(64 << 20)},
		"HTTP/1.1, little by little":   {withoutBody, endless(100)},
		"HTTP/1.0":                     {oldVersion, endless(1 << 20)},
		"a connection of HTTP/2":       {windowed(1<<31 - 1), endless(1 << 20)},
		"a stream of HTTP/2":           {windowed(1000), endless(1 << 20)},
		"a stream, little by little":   {windowed(1000), endless(100)},
		"a stream, by what is flushed": {windowed(1), flushing},
		"two at once":                  {withoutBody + withoutBody, endless(1 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{}, 2)
			address := serving(t, impatient(), func(w http.ResponseWriter, r *http.Request) {
				defer func() { over <- struct{}{} }()
				tc.answer(w, r)
			})
			c := dial(t, address)
			if _, err := io.WriteString(c, tc.request); err != nil {
				t.Fatal(err)
			}
			<-over
			if strings.HasPrefix(name, "a ") {
				return // an answer of HTTP/2 is whole when its stream says so, however the connection ends
			}
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection ends with %v", err)
			}
		})
	}
}

func flushing(w http.ResponseWriter, _ *http.Request) {
	for {
		_, _ = io.WriteString(w, "event")
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// TestTheRestOfAnAnswerThatNobodyReadsIsCutOff holds the same of what the server
// writes when the handler has returned.
func TestTheRestOfAnAnswerThatNobodyReadsIsCutOff(t *testing.T) {
	t.Parallel()
	c := dial(t, serving(t, impatient(), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") }))
	if _, err := io.WriteString(c, windowed(0)); err != nil {
		t.Fatal(err)
	}
	const reset = 3
	awaitFrame(t, c, reset)
}

// awaitFrame reads frames of HTTP/2 until there is one of a kind.
func awaitFrame(t *testing.T, c net.Conn, kind byte) {
	t.Helper()
	in := bufio.NewReader(c)
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(in, head); err != nil {
			t.Fatal(err)
		}
		if head[3] == kind {
			return
		}
		if _, err := in.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnIdleStreamLasts holds that only a client that does not read is cut off,
// and not one for whom there is nothing.
func TestAnIdleStreamLasts(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := make(chan struct{})
			address := serving(t, impatient(), func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet { // the other client
					defer close(cut)
					endless(1<<20)(w, r)
				}
				_, _ = io.WriteString(w, "begun, ")
				flush(w)
				<-cut // so that more time has passed than anybody has to read
				_, _ = io.WriteString(w, "done")
			})
			transport := &http.Transport{Protocols: new(http.Protocols)}
			transport.Protocols.SetHTTP1(!http2)
			transport.Protocols.SetUnencryptedHTTP2(http2)
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.WriteString(dial(t, address), withoutBody); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != "begun, done" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
