package gateway_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// inferring is a message with so many bytes of tensors.
func inferring(t *testing.T, model string, size int) []byte {
	t.Helper()
	data, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: model, RawInputContents: [][]byte{make([]byte, size)}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// beginAnswer begins a function's answer of one message of so many bytes.
func beginAnswer(w http.ResponseWriter, length int) {
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(length)))
}

// endAnswer ends it.
func endAnswer(w http.ResponseWriter) { w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0") }

// TestAMessagePassesWhileItComes holds that a function reads a large message, which says
// where it goes, while most of it is still to come.
func TestAMessagePassesWhileItComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := make(chan int, 1)
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.ReadFull(r.Body, make([]byte, 20<<10))
		begun <- n
		more, _ := io.Copy(io.Discard, r.Body)
		begun <- n + int(more)
		beginAnswer(rw, 0)
		endAnswer(rw)
	})
	message := inferring(t, "iris", 1<<20)
	answered, rest := w.open(w.admin, "ModelInfer", uint32(len(message)), message[:40<<10]) //nolint:bodyclose // it is closed
	if got := <-begun; got != 20<<10 {
		t.Fatalf("the function reads %d bytes", got)
	}
	if _, err := rest.Write(message[40<<10:]); err != nil {
		t.Fatal(err)
	}
	if err := rest.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-begun; got != 5+len(message) {
		t.Errorf("the function has %d bytes of %d", got, len(message))
	}
	if got := statusOf(t, answered); got != "0" {
		t.Errorf("status %q", got)
	}
}

// TestAnAnswerPassesWhileItComes holds that a client reads a large answer before its
// function has all of it.
func TestAnAnswerPassesWhileItComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 1 << 20
	seen := make(chan struct{})
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		beginAnswer(rw, size)
		_, _ = rw.Write(make([]byte, size/2))
		_ = http.NewResponseController(rw).Flush()
		<-seen
		_, _ = rw.Write(make([]byte, size/2))
		endAnswer(rw)
	})
	message := inferring(t, "iris", 1)
	answered, rest := w.open(w.admin, "ModelInfer", uint32(len(message)), message) //nolint:bodyclose // it is closed
	if err := rest.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	res := <-answered
	if res == nil {
		t.Fatal("the call was cut")
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, size/4)); err != nil {
		t.Fatal(err)
	}
	close(seen)
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != 5+size-size/4 || res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%d bytes, %v, status %q", n, err, res.Trailer.Get("Grpc-Status"))
	}
}

// TestAMessageGoesWhereItsBeginningSays holds that no message says otherwise behind what
// was decided on: a function gets none of it whole.
func TestAMessageGoesWhereItsBeginningSays(t *testing.T) {
	t.Parallel()
	large := inferring(t, "iris", 100<<10)
	secret := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "secret-model")
	longTag := append([]byte{0x8a, 0x80, 0x80, 0x00}, secret[1:]...) // the same number in four bytes
	nameless := inferring(t, "", 100<<10)
	for name, tc := range map[string]struct {
		message  raw
		compress bool
		code     codes.Code
		whole    bool // whether the function has it all
	}{
		"as encoders write it":         {large, false, codes.OK, true},
		"another name behind":          {append(bytes.Clone(large), secret...), false, codes.InvalidArgument, false},
		"another name, tag of 4 bytes": {append(bytes.Clone(large), longTag...), false, codes.InvalidArgument, false},
		"another version behind":       {protowire.AppendString(protowire.AppendTag(bytes.Clone(large), 2, protowire.BytesType), "1"), false, codes.InvalidArgument, false},
		"an id behind":                 {protowire.AppendString(protowire.AppendTag(bytes.Clone(large), 3, protowire.BytesType), "7"), false, codes.OK, true},
		"a group behind":               {protowire.AppendTag(bytes.Clone(large), 9, protowire.StartGroupType), false, codes.InvalidArgument, false},
		"a length beyond its end":      {append(bytes.Clone(large), 0x3a, 1), false, codes.InvalidArgument, false},
		"another name, compressed":     {append(bytes.Clone(large), secret...), true, codes.PermissionDenied, false},
		"its name behind":              {protowire.AppendString(protowire.AppendTag(bytes.Clone(nameless), 1, protowire.BytesType), "iris"), false, codes.OK, true},
		"another's name behind alone":  {append(bytes.Clone(nameless), secret...), false, codes.PermissionDenied, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var mu sync.Mutex
			whole := false
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				mu.Lock()
				whole = whole || err == nil
				mu.Unlock()
				beginAnswer(rw, 0)
				endAnswer(rw)
			})
			options := []grpc.CallOption{grpc.ForceCodec(rawCodec{})}
			if tc.compress {
				options = append(options, grpc.UseCompressor(gzip.Name))
			}
			err := w.dial("").Invoke(with(t, "x-api-key", w.key(auth.Infer("iris"))), service+"ModelInfer", &tc.message, &inferpb.ModelInferResponse{}, options...)
			mu.Lock()
			defer mu.Unlock()
			if status.Code(err) != tc.code || whole != tc.whole {
				t.Errorf("%v, and the function has it whole: %v; want %v, %v", err, whole, tc.code, tc.whole)
			}
		})
	}
}

// TestAMessageThatIsRefusedWhileItPasses holds that a stream goes on behind a message
// that is refused when a part of it has passed, or that its function answers before it
// has come.
func TestAMessageThatIsRefusedWhileItPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grpcFunction("pool")
	w.serve("ocr", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/grpc")
		rw.Header().Set("Grpc-Status", "8")
		rw.Header().Set("Grpc-Message", "no room")
	})
	stream, err := w.dial("").NewStream(with(t, "x-api-key", w.admin), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer", grpc.ForceCodec(rawCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	hidden := protowire.AppendString(protowire.AppendTag(inferring(t, "iris", 3<<20), 1, protowire.BytesType), "secret-model")
	for i, step := range []struct {
		message raw
		want    string
	}{
		{hidden, "nowhere else"},
		{inferring(t, "iris", 1<<20), ""},
		{inferring(t, "text-recognize", 3<<20), "no room"},
		{inferring(t, "iris", 100), ""},
	} {
		var out inferpb.ModelStreamInferResponse
		if err := errors.Join(stream.SendMsg(&step.message), stream.RecvMsg(&out)); err != nil {
			t.Fatal(i, err)
		}
		if got := out.GetErrorMessage(); !strings.Contains(got, step.want) || (got == "") != (step.want == "") {
			t.Errorf("%d: %q, want %q", i, got, step.want)
		}
	}
}

// TestAFunctionThatEndsWithinItsAnswer holds that a call and a stream end with an error,
// and do not wait for their client, when a part of an answer was sent.
func TestAFunctionThatEndsWithinItsAnswer(t *testing.T) {
	t.Parallel()
	for _, procedure := range []string{"ModelInfer", "ModelStreamInfer"} {
		t.Run(procedure, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				beginAnswer(rw, 1<<20)
				_, _ = rw.Write(make([]byte, 1<<19))
				_ = http.NewResponseController(rw).Flush()
				panic(http.ErrAbortHandler)
			})
			message := inferring(t, "iris", 1)
			answered, rest := w.open(w.admin, procedure, uint32(len(message)), message) //nolint:bodyclose // it is closed
			if procedure == "ModelInfer" {
				if err := rest.(io.Closer).Close(); err != nil {
					t.Fatal(err)
				}
			}
			if got := statusOf(t, answered); got != "14" {
				t.Errorf("status %q, want 14 (unavailable)", got)
			}
		})
	}
}

// TestMessagesThatDoNotEnd is the attack of many messages that are there but for their
// last byte: another tenant's call is answered.
func TestMessagesThatDoNotEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, env.MiB })
	w.grpcFunction("pool")
	attacker := w.keyOf("attacker", auth.Infer("iris"))
	message := inferring(t, "iris", 900<<10)
	for range 16 {
		_, _ = w.open(attacker, "ModelInfer", uint32(len(message)), message[:len(message)-1]) //nolint:bodyclose // it is not answered
	}
	other := with(t, "x-api-key", w.keyOf("other", auth.Infer("iris")))
	for range 3 {
		in := &inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, 900<<10)}}
		if err := w.dial("").Invoke(other, service+"ModelInfer", in, &inferpb.ModelInferResponse{}); err != nil {
			t.Error(err)
		}
	}
}

// TestLargeAnswersTakeNoMemory is the attack of small calls with large answers: the
// gateway has pieces of them, however large they are. It is alone, since it looks at the
// heap.
func TestLargeAnswersTakeNoMemory(t *testing.T) {
	const calls, size, piece = 4, 64 << 20, 1 << 20
	w := newWorld(t)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var mu sync.Mutex
	peak, data := int64(0), make([]byte, piece)
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		beginAnswer(rw, size)
		for range size / piece {
			_, _ = rw.Write(data)
			mu.Lock()
			peak = max(peak, heap())
			mu.Unlock()
		}
		endAnswer(rw)
	})
	runtime.GC()
	before := heap()
	message := inferring(t, "iris", 1)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			answered, rest := w.open(w.admin, "ModelInfer", uint32(len(message)), message) //nolint:bodyclose // it is closed
			_ = rest.(io.Closer).Close()
			if got := statusOf(t, answered); got != "0" {
				t.Errorf("status %q", got)
			}
		})
	}
	wg.Wait()
	if grown := peak - before; grown > calls*size/3 {
		t.Errorf("the process grew by %d MiB for answers of %d MiB", grown>>20, calls*size>>20)
	}
}
