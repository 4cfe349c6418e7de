package grpcwire

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// roomOf is a room of which one tenant may have so many bytes.
func roomOf(n int64) room.Tenant { return room.New(2 * n).Of("a tenant") }

// ample is room for all.
func ample() room.Tenant { return roomOf(1 << 40) }

// accept begins to answer a call with a body.
func accept(t testing.TB, body io.Reader, encoding string, most int64, of room.Tenant) *Stream {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
	r.Header["Grpc-Encoding"] = []string{encoding}
	return Accept(httptest.NewRecorder(), r, most, of, time.Second)
}

// receiveOnly is the message of a call that has one.
func receiveOnly(ctx context.Context, s *Stream) (Message, error) {
	x, err := s.Only()
	if err != nil {
		return nil, err
	}
	if _, _, _, err := x.Begin(); err != nil {
		return nil, err
	}
	if err := x.Read(ctx); err != nil {
		return nil, err
	}
	return x.Message(), nil
}

// frame is a message as it stands on the wire.
func frame(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

func compressed(t *testing.T, encoding string, message []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if encoding == deflateEncoding {
		w = zlib.NewWriter(&out)
	}
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestReceive holds what comes of a body with one message in it.
func TestReceive(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	small, large := []byte("a message"), bytes.Repeat([]byte("0123456789abcdef"), most/16)
	for name, tc := range map[string]struct {
		encoding string
		body     []byte
		want     []byte
		code     problem.Code
	}{
		"plain":                      {"", frame(0, small), small, ""},
		"empty":                      {"", frame(0, nil), nil, ""},
		"as large as may be":         {"", frame(0, large), large, ""},
		"gzip":                       {"gzip", frame(1, compressed(t, "gzip", large)), large, ""},
		"deflate":                    {"deflate", frame(1, compressed(t, "deflate", large)), large, ""},
		"one not compressed of gzip": {"gzip", frame(0, small), small, ""},
		"too large":                  {"", frame(0, append(large, 1)), nil, problem.PayloadTooLarge},
		"too large, decompressed":    {"gzip", frame(1, compressed(t, "gzip", append(large, 1))), nil, problem.PayloadTooLarge},
		"none":                       {"", nil, nil, problem.MalformedBody},
		"two":                        {"", append(frame(0, small), frame(0, small)...), nil, problem.MalformedBody},
		"less than announced":        {"", frame(0, small)[:8], nil, problem.MalformedBody},
		"less than its header":       {"", frame(0, small)[:3], nil, problem.MalformedBody},
		"4 GiB announced":            {"", []byte{0, 255, 255, 255, 255}, nil, problem.PayloadTooLarge},
		"another flag":               {"", frame(2, small), nil, problem.MalformedBody},
		"compressed by nothing":      {"", frame(1, small), nil, problem.MalformedBody},
		"not gzip":                   {"gzip", frame(1, small), nil, problem.MalformedBody},
		"gzip that is cut":           {"gzip", frame(1, compressed(t, "gzip", large)[:40]), nil, problem.MalformedBody},
		"bytes behind gzip":          {"gzip", frame(1, append(compressed(t, "gzip", small), 1)), nil, problem.MalformedBody},
		"bytes behind deflate":       {"deflate", frame(1, append(compressed(t, "deflate", small), 1)), nil, problem.MalformedBody},
		"nothing, compressed":        {"gzip", frame(1, nil), nil, problem.MalformedBody},
		"an unknown encoding":        {"br", frame(1, small), nil, problem.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, reader := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader,
			} {
				got, err := receiveOnly(t.Context(), accept(t, reader(bytes.NewReader(tc.body)), tc.encoding, most, roomOf(64<<20)))
				if !bytes.Equal(got, tc.want) || err == nil && tc.code != "" || err != nil && problem.CodeOf(err) != tc.code {
					t.Fatalf("%d bytes, %v; want %d, %q", len(got), err, len(tc.want), tc.code)
				}
			}
		})
	}
}

// TestAnAnnouncedLengthTakesNoMemory holds that no memory is taken for what is
// announced and of which little came.
func TestAnAnnouncedLengthTakesNoMemory(t *testing.T) {
	t.Parallel()
	body := frame(0, make([]byte, 100))
	binary.BigEndian.PutUint32(body[1:], 1<<30)
	allocated := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			_, err := receiveOnly(b.Context(), accept(b, bytes.NewReader(body), "", 1<<30, ample()))
			if problem.CodeOf(err) != problem.MalformedBody {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4*firstPiece {
		t.Errorf("%d bytes were taken for 100", allocated)
	}
}

// TestMessagesAreInTheRoom holds that no message takes memory that is not the
// room's, compressed or not, that it is refused where there is none, and that all
// comes back.
func TestMessagesAreInTheRoom(t *testing.T) {
	t.Parallel()
	const most = 8 << 20
	zeros := make([]byte, most)
	for name, tc := range map[string]struct {
		encoding string
		body     []byte
		room     int64
		code     problem.Code
	}{
		"a message":                {"", frame(0, zeros), most*3/2 + 1<<10, ""}, // when it last moves its half is there twice
		"one larger than the room": {"", frame(0, zeros), most / 2, problem.Overloaded},
		"a bomb":                   {"gzip", frame(1, compressed(t, "gzip", zeros)), most*3/2 + 128<<10, ""},
		"a bomb without room":      {"gzip", frame(1, compressed(t, "gzip", zeros)), most / 2, problem.Overloaded},
		"a bomb of zlib's":         {"deflate", frame(1, compressed(t, "deflate", zeros)), most / 2, problem.Overloaded},
		"one that is cut":          {"", frame(0, zeros)[:most/4], most, problem.MalformedBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // who waits for room waits in its time
				of := roomOf(tc.room)
				s := accept(t, bytes.NewReader(tc.body), tc.encoding, most, of)
				m, err := receiveOnly(t.Context(), s)
				if (err != nil || tc.code != "") && problem.CodeOf(err) != tc.code {
					t.Fatalf("%d bytes, %v; want %q", len(m), err, tc.code)
				}
				if tc.code == "" && (len(m) != most || of.TryAcquire(of.Largest()-most)) {
					t.Errorf("%d bytes are not in the room", len(m))
				}
				s.Close()
				if !of.TryAcquire(of.Largest()) {
					t.Error("not all came back")
				}
			})
		})
	}
}

func TestBrokenBodiesReturnTheirOwnError(t *testing.T) {
	t.Parallel()
	own := errors.New("its own")
	for _, n := range []int{0, 3, 8} {
		_, err := receiveOnly(t.Context(), accept(t, io.MultiReader(bytes.NewReader(frame(0, []byte("a message"))[:n]), iotest.ErrReader(own)), "", 1<<10, ample()))
		if !errors.Is(err, own) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "5n": 5, "7u": 7 * time.Microsecond, "12m": 12 * time.Millisecond, "3S": 3 * time.Second, "2M": 2 * time.Minute,
		"1H": time.Hour, "99999999H": 0, "0m": 1, "99999999S": 99999999 * time.Second,
		"m": -1, "5": -1, "5x": -1, "-5m": -1, "+5m": -1, "999999999m": -1, "1.5S": -1,
	} {
		got, err := Timeout(http.Header{"Grpc-Timeout": {text}})
		if want < 0 && problem.CodeOf(err) != problem.InvalidArgument || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, d := range []time.Duration{1, time.Millisecond, 99 * time.Second, 5 * time.Minute, 24 * time.Hour, 9000 * time.Hour, 200_000 * time.Hour, -time.Second} {
		got, err := Timeout(http.Header{"Grpc-Timeout": {timeout(d)}})
		if err != nil || got > max(d, 1) || d > 0 && float64(got) < 0.99*float64(d) {
			t.Errorf("%v is written %s and read %v, %v", d, timeout(d), got, err)
		}
	}
}

// TestACallOverHTTP2 holds that a client gets what a server of here answers with, over
// HTTP/2: the message, or the status with its details.
func TestACallOverHTTP2(t *testing.T) {
	t.Parallel()
	fault := problem.Invalid("shape", "expected 4 — not %d%%", 5).WithRetryAfter(time.Second)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := Accept(w, r, 1<<20, ample(), time.Second)
		defer s.Close()
		m, err := receiveOnly(r.Context(), s)
		switch {
		case err != nil:
		case string(m) == "fail":
			err = fault
		case string(m) == "late":
			_ = s.Send(m)
			err = fault
		default:
			s.Header().Set("X-Meta", "is there")
			err = s.Send(m[:1], m[1:])
		}
		s.End(err)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	transport := &http.Transport{Protocols: server.Config.Protocols}
	defer transport.CloseIdleConnections()
	for _, text := range []string{"a message", strings.Repeat("x", 1<<20), "fail", "late"} {
		r, err := NewRequest(t.Context(), "/a.Service/Method", Message(text))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Host = server.Listener.Addr().String()
		res, err := transport.RoundTrip(r) //nolint:bodyclose // answerOf closes it
		if err != nil {
			t.Fatal(err)
		}
		got, err := answerOf(t, res, ample())
		if text == "fail" || text == "late" {
			var e *connect.Error
			if !errors.As(err, &e) || !connect.IsWireError(err) || e.Message() != fault.Detail || problemgrpc.Code(e) != fault.Code || len(e.Details()) != 3 {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil || string(got) != text || res.Header.Get("X-Meta") == "" {
			t.Errorf("%d bytes, %v, %v", len(got), err, res.Header)
		}
	}
}

// TestABrokenAnswerIsNoStatus holds that an answer which is not whole, or not gRPC, is no
// status of the server's.
func TestABrokenAnswerIsNoStatus(t *testing.T) {
	t.Parallel()
	grpc := http.Header{"Content-Type": {"application/grpc"}}
	ok := http.Header{"Grpc-Status": {"0"}}
	for name, res := range map[string]*http.Response{
		"another status":  {StatusCode: http.StatusBadGateway, Header: grpc, Trailer: ok},
		"JSON":            {StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Trailer: ok},
		"no status":       {StatusCode: http.StatusOK, Header: grpc},
		"no message":      {StatusCode: http.StatusOK, Header: grpc, Trailer: ok, Body: io.NopCloser(strings.NewReader(""))},
		"half a message":  {StatusCode: http.StatusOK, Header: grpc, Trailer: ok, Body: io.NopCloser(bytes.NewReader(frame(0, []byte("message"))[:7]))},
		"compressed":      {StatusCode: http.StatusOK, Header: grpc, Trailer: ok, Body: io.NopCloser(bytes.NewReader(frame(1, []byte("message"))))},
		"two messages":    {StatusCode: http.StatusOK, Header: grpc, Trailer: ok, Body: io.NopCloser(bytes.NewReader(append(frame(0, nil), frame(0, nil)...)))},
		"a message of 2G": {StatusCode: http.StatusOK, Header: grpc, Trailer: ok, Body: io.NopCloser(bytes.NewReader([]byte{0, 127, 255, 255, 255}))},
	} {
		if res.Body == nil {
			res.Body = io.NopCloser(bytes.NewReader(frame(0, []byte("message"))))
		}
		of := ample()
		if m, err := answerOf(t, res, of); err == nil || connect.IsWireError(err) || m != nil || !of.TryAcquire(of.Largest()) {
			t.Errorf("%s: %q, %v; or not all came back", name, m, err)
		}
	}
}

// answerOf is the answer to a call of one small message.
func answerOf(t *testing.T, res *http.Response, of room.Tenant) (Message, error) {
	t.Helper()
	s := accept(t, bytes.NewReader(frame(0, []byte("a question"))), "", 1<<10, of)
	defer s.Close()
	x, err := s.Only()
	if err == nil {
		_, _, _, err = x.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	a, err := x.Answer(res, 1<<20)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	sent := httptest.NewRecorder()
	s.w = sent
	if _, err = a.Send(t.Context(), []byte("prefix")); err != nil {
		return nil, err
	}
	return bytes.TrimPrefix(sent.Body.Bytes(), append(header(6+int(a.Length())), "prefix"...)), nil
}

// TestAnAnswerThatWaitedForItsTurn holds that an answer which its function gave up, while
// it waited for those before it, is to be asked for again.
func TestAnAnswerThatWaitedForItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		of := roomOf(64 << 10)
		s := accept(t, bytes.NewReader(append(frame(0, []byte("first")), frame(0, []byte("second"))...)), "", 1<<10, of)
		defer s.Close()
		first, second := next(t, s), next(t, s)
		time.AfterFunc(30*time.Second, first.Done)
		a, err := second.Answer(answering(frame(0, make([]byte, 60<<10))[:1<<10]), 1<<20) //nolint:bodyclose // the Answer closes it
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if err := errors.Join(a.Hold(t.Context()), second.Turn(t.Context())); err != nil {
			t.Fatal(err)
		}
		var fault *problem.Error
		if begun, err := a.Send(t.Context(), nil); begun || !errors.As(err, &fault) || fault.Code != problem.Overloaded || fault.RetryAfter == 0 {
			t.Errorf("%v, %v", begun, err)
		}
	})
}

// TestAnAnswerIsReadBeforeItsTurn holds that an answer for which there is room does not
// keep its function waiting for those before it, and that it is in the room until it is
// sent; one that is due takes none.
func TestAnAnswerIsReadBeforeItsTurn(t *testing.T) {
	t.Parallel()
	of := roomOf(1 << 20)
	s := accept(t, bytes.NewReader(append(frame(0, []byte("first")), frame(0, []byte("second"))...)), "", 1<<10, of)
	defer s.Close()
	first, second := next(t, s), next(t, s)
	answer := make([]byte, 100<<10)
	var answers []*Answer
	for _, x := range []*Exchange{first, second} {
		a, err := x.Answer(answering(frame(0, answer)), 1<<20) //nolint:bodyclose // it is whole or sent
		if err == nil {
			err = a.Hold(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if answers[0].message != nil || answers[1].message == nil || of.TryAcquire(of.Largest()-99<<10) || !of.TryAcquire(of.Largest()-100<<10) {
		t.Error("the one that waits is not in the room, or the one that is due is")
	}
	of.Release(of.Largest() - 100<<10)
	sent := httptest.NewRecorder()
	s.w = sent
	for i, x := range []*Exchange{first, second} {
		if err := x.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := answers[i].Send(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		x.Done()
	}
	if sent.Body.Len() != 2*(HeaderLen+len(answer)) || !of.TryAcquire(of.Largest()) {
		t.Errorf("%d bytes were sent, or not all came back", sent.Body.Len())
	}
}

// next is the next exchange of a stream, whose message was begun.
func next(t *testing.T, s *Stream) *Exchange {
	t.Helper()
	x, err := s.Next()
	if err == nil {
		_, _, _, err = x.Begin()
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// answering is a function's answer with a body.
func answering(body []byte) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/grpc"}}, Trailer: http.Header{"Grpc-Status": {"0"}},
		Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// FuzzReceive holds that no body makes more of what it has, and that what is read is
// what was sent.
func FuzzReceive(f *testing.F) {
	f.Add(frame(0, []byte("a message")), "")
	f.Add(frame(1, []byte("a message")), "gzip")
	f.Add([]byte{0, 0, 0, 1, 0, 7}, "deflate")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		const most = 1 << 16
		m, err := receiveOnly(t.Context(), accept(t, bytes.NewReader(body), encoding, most, roomOf(64<<20)))
		if err != nil {
			if code := problem.CodeOf(err); code != problem.MalformedBody && code != problem.PayloadTooLarge && code != problem.Unimplemented {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(m) > most || body[0] == 0 && !bytes.Equal(frame(0, m), body) {
			t.Fatalf("%d bytes of %d", len(m), len(body))
		}
	})
}
