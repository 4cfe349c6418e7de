package grpcwire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"github.com/modelserveai/modelserve/problem"
)

// pass has a message of a stream pass, whose beginning is read.
func pass(t *testing.T, x *Exchange, look func([]byte) error) *Passing {
	t.Helper()
	_, more, plain, err := x.Begin()
	if err != nil || !more || !plain {
		t.Fatalf("%v, %v, %v", more, plain, err)
	}
	if err := x.Pass(t.Context(), look); err != nil {
		t.Fatal(err)
	}
	return x.Passes([]byte("behind"))
}

// TestAMessagePasses holds what a function gets of a message that passes, of which it
// never gets the last byte where something is wrong.
func TestAMessagePasses(t *testing.T) {
	t.Parallel()
	message := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	wrong := problem.New(problem.InvalidArgument, "as looked at")
	for name, tc := range map[string]struct {
		body []byte
		look error // once all has come
		code problem.Code
	}{
		"whole":           {frame(0, message), nil, ""},
		"two":             {append(frame(0, message), 0), nil, problem.MalformedBody},
		"one that is cut": {frame(0, message)[:40<<10], nil, problem.MalformedBody},
		"a wrong one":     {frame(0, message), wrong, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, reader := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader,
			} {
				of := ample()
				s := accept(t, reader(bytes.NewReader(tc.body)), "", 1<<20, of)
				x, err := s.Only()
				if err != nil {
					t.Fatal(err)
				}
				seen := int64(firstPiece)
				p := pass(t, x, func(piece []byte) error {
					if seen += int64(len(piece)); seen == x.Length() {
						return tc.look
					}
					return nil
				})
				got, err := io.ReadAll(p)
				if tc.code == "" {
					want := append(append(header(len(message)+6), message...), "behind"...)
					if err != nil || p.Failed() != nil || !bytes.Equal(got, want) || p.length != int64(len(want)) {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
				} else if problem.CodeOf(err) != tc.code || !errors.Is(p.Failed(), err) || len(got) >= HeaderLen+len(message) {
					t.Fatalf("%d bytes, %v; want %q", len(got), err, tc.code)
				}
				if _, again := p.Read(make([]byte, 1)); err != nil && !errors.Is(again, err) || err == nil && !errors.Is(again, io.EOF) {
					t.Fatalf("read again: %v, and before %v", again, err)
				}
				s.Close()
				if !of.TryAcquire(of.Largest()) {
					t.Error("not all came back")
				}
			}
		})
	}
}

// TestAPassingMessageTakesLittle holds that a message which passes takes no more room
// than what of it is there.
func TestAPassingMessageTakesLittle(t *testing.T) {
	t.Parallel()
	of := roomOf(1 << 20)
	s := accept(t, bytes.NewReader(frame(0, make([]byte, 8<<20))), "", 8<<20, of)
	defer s.Close()
	x, err := s.Only()
	if err != nil {
		t.Fatal(err)
	}
	p := pass(t, x, func([]byte) error { return nil })
	if of.TryAcquire(of.Largest()-passingRoom+1) || !of.TryAcquire(of.Largest()-passingRoom) {
		t.Error("it takes more, or less, than what passes")
	}
	if n, err := io.Copy(io.Discard, p); err != nil || n != HeaderLen+8<<20+6 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestAMessageThatIsGivenUp holds that a stream goes on behind a message of which only a
// part was read by whoever sends it on, who gets nothing more of the stream.
func TestAMessageThatIsGivenUp(t *testing.T) {
	t.Parallel()
	s := accept(t, bytes.NewReader(append(frame(0, make([]byte, 100<<10)), frame(0, []byte("next"))...)), "", 1<<20, ample())
	defer s.Close()
	x, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	p := pass(t, x, func([]byte) error { return nil })
	if _, err := io.ReadFull(p, make([]byte, 30<<10)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Close(), x.Skip(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Read(make([]byte, 10)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read when given up: %d, %v", n, err)
	}
	if got := next(t, s).Message(); string(got) != "next" {
		t.Errorf("behind it comes %q", got)
	}
}
