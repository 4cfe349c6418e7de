package gateway_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// narrow has room for eight messages of 1 MiB, of which one tenant's are four.
func narrow(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, env.MiB }

// modelStream begins a stream of inferences.
func (w *world) modelStream(t *testing.T, key string, options ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := w.dial("").NewStream(with(t, "x-api-key", key), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer", options...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestAStreamIsAnsweredWhole holds that a stream whose messages, or answers, are more
// than there is room for is held back, and not refused; several of them likewise, and
// those of several tenants.
func TestAStreamIsAnsweredWhole(t *testing.T) {
	t.Parallel()
	const large = 900 << 10
	for name, tc := range map[string]struct {
		tenants, streams, messages, in, out int
		room                                env.Size
	}{
		"large messages":                {1, 1, 24, large, 1, env.MiB},
		"large answers":                 {1, 1, 24, 1, large, env.MiB},
		"both":                          {1, 1, 24, large, large, env.MiB},
		"several streams":               {1, 3, 24, large, large, env.MiB},
		"answers larger than messages":  {1, 3, 24, 500 << 10, large, 16 * env.MiB},
		"answers twice the largest":     {1, 3, 12, 100 << 10, 2 << 20, env.MiB},
		"many streams":                  {1, 20, 8, 500 << 10, large, 64 * env.MiB},
		"many streams of a narrow room": {1, 20, 3, 500 << 10, large, 40 * env.MiB},
		"several tenants":               {4, 3, 8, 500 << 10, large, 16 * env.MiB},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, tc.room })
			w.grpcFunction("pool").size = tc.out
			failed := make(chan error, tc.tenants*tc.streams)
			for i := range tc.tenants * tc.streams {
				stream := w.modelStream(t, w.keyOf("tenant-"+strconv.Itoa(i%tc.tenants), auth.Infer("iris")))
				go func() {
					for i := range tc.messages {
						in := &inferpb.ModelInferRequest{ModelName: "iris", Id: strconv.Itoa(i), RawInputContents: [][]byte{make([]byte, tc.in)}}
						if stream.SendMsg(in) != nil {
							return // what it ended with is received
						}
					}
					_ = stream.CloseSend()
				}()
				go func() { failed <- answeredWhole(stream, tc.messages, tc.out) }()
			}
			for range tc.tenants * tc.streams {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// answeredWhole receives a stream's answers, of size bytes each.
func answeredWhole(stream grpc.ClientStream, messages, size int) error {
	for i := range messages {
		var out inferpb.ModelStreamInferResponse
		if err := stream.RecvMsg(&out); err != nil {
			return err
		}
		got := out.GetInferResponse()
		if out.GetErrorMessage() != "" || got.GetId() != strconv.Itoa(i) || len(got.GetRawOutputContents()[0]) != size {
			return errors.New(got.GetId() + ": " + out.GetErrorMessage())
		}
	}
	return nil
}

// TestAMessageWithoutRoomIsRefusedAlone holds that a message of a stream for which
// there is no room gets its error, with its id, and that the stream goes on. Messages
// that are held are those in an order that nobody writes, and those that are compressed.
func TestAMessageWithoutRoomIsRefusedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, narrow, func(c *gateway.Config, _ *gateway.Deps) { c.BodyTimeout = 2 * time.Second })
	w.grpcFunction("pool")
	arrived, leave, left := make(chan struct{}, 2), make(chan struct{}), make(chan struct{}) // it may be run again
	w.serve("ocr", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-leave
		panic(http.ErrAbortHandler)
	})
	ctx, cancel := context.WithCancel(with(t, "x-api-key", w.admin))
	defer cancel()
	conn := w.dial("")
	go func() { // it has most of what messages may have
		in := &inferpb.ModelInferRequest{ModelName: "text-recognize", RawInputContents: [][]byte{make([]byte, 900<<10)}}
		_ = conn.Invoke(ctx, service+"ModelInfer", in, &inferpb.ModelInferResponse{}, grpc.UseCompressor(gzip.Name))
		close(left)
	}()
	<-arrived
	stream := w.modelStream(t, w.admin, grpc.UseCompressor(gzip.Name))
	ask := func(id string, size int) *inferpb.ModelStreamInferResponse {
		var out inferpb.ModelStreamInferResponse
		in := &inferpb.ModelInferRequest{ModelName: "iris", Id: id, RawInputContents: [][]byte{make([]byte, size)}}
		if err := errors.Join(stream.SendMsg(in), stream.RecvMsg(&out)); err != nil {
			t.Fatal(err)
		}
		return &out
	}
	if got := ask("a", 900<<10); !strings.Contains(got.GetErrorMessage(), "call again") || got.GetInferResponse().GetId() != "a" {
		t.Errorf("without room: %.200v", got)
	}
	if log := w.log.String(); !strings.Contains(log, `"msg":"message"`) || !strings.Contains(log, `"model":"iris"`) || !strings.Contains(log, `"code":"overloaded"`) {
		t.Errorf("it is not in the log: %s", log)
	}
	if got := ask("b", 100); got.GetErrorMessage() != "" {
		t.Errorf("a small one: %.200v", got)
	}
	cancel()
	close(leave)
	<-left
	if got := ask("c", 900<<10); got.GetErrorMessage() != "" || got.GetInferResponse().GetId() != "c" {
		t.Errorf("with room again: %.200v", got)
	}
}

// open is a call of a procedure whose client has sent the beginning of a message
// that it says has length bytes.
func (w *world) open(key, procedure string, length uint32, beginning []byte) (answered <-chan *http.Response, more io.Writer) {
	w.t.Helper()
	source, sink := io.Pipe()
	w.t.Cleanup(func() { _ = sink.CloseWithError(io.ErrUnexpectedEOF) })
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+service+procedure, source)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("X-Api-Key", key)
	done := make(chan *http.Response, 1)
	client := w.h2c()
	go func() {
		res, err := client.Do(r) //nolint:bodyclose // whoever receives it closes it
		if err != nil {
			close(done)
			return
		}
		done <- res
	}()
	_, _ = sink.Write(append(binary.BigEndian.AppendUint32([]byte{0}, length), beginning...)) // one that is refused reads no more
	return done, sink
}

// statusOf is the gRPC status that a call ended with.
func statusOf(t *testing.T, answered <-chan *http.Response) string {
	t.Helper()
	res := <-answered
	if res == nil {
		t.Fatal("the call was cut")
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Header.Get("Grpc-Status") + res.Trailer.Get("Grpc-Status")
}

// TestAMessageIsDecidedOnByItsBeginning holds that a caller who may not do what a
// message asks is refused while most of it has not come, and so takes no room.
func TestAMessageIsDecidedOnByItsBeginning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key(auth.Infer("nothing"))
	begun, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: "iris", Id: "7", RawInputContents: [][]byte{make([]byte, 1<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a call", func(t *testing.T) {
		t.Parallel()
		answered, _ := w.open(key, "ModelInfer", uint32(len(begun)), begun[:16<<10]) //nolint:bodyclose // it is closed
		if got := statusOf(t, answered); got != "7" {
			t.Errorf("status %q, want 7 (permission_denied)", got)
		}
	})
	t.Run("a message of a stream", func(t *testing.T) {
		t.Parallel()
		answered, _ := w.open(key, "ModelStreamInfer", uint32(len(begun)), begun[:16<<10]) //nolint:bodyclose // it is closed
		res := <-answered
		if res == nil {
			t.Fatal("the call was cut")
		}
		defer res.Body.Close()
		var head [5]byte
		if _, err := io.ReadFull(res.Body, head[:]); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(res.Body, message); err != nil {
			t.Fatal(err)
		}
		var out inferpb.ModelStreamInferResponse
		if err := proto.Unmarshal(message, &out); err != nil || !strings.Contains(out.GetErrorMessage(), "may not infer") || out.GetInferResponse().GetId() != "7" {
			t.Errorf("%v, %v", &out, err)
		}
	})
}

// TestARevokedKeyTakesNoRoom holds that a stream whose key is revoked ends when its
// next message begins, before anything of it is read.
func TestARevokedKeyTakesNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grpcFunction("pool")
	key := w.key(auth.Infer("iris"))
	message, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: "iris"})
	if err != nil {
		t.Fatal(err)
	}
	answered, more := w.open(key, "ModelStreamInfer", uint32(len(message)), message) //nolint:bodyclose // it is closed
	res := <-answered                                                                // its header comes with its first message
	if res == nil {
		t.Fatal("the call was cut")
	}
	defer res.Body.Close()
	id, err := auth.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.do(request{method: http.MethodDelete, path: "/v1/keys/" + id.ID, key: w.admin}); got.status != http.StatusNoContent {
		t.Fatal(got)
	}
	if _, err := more.Write([]byte{0, 0, 16, 0, 0}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if got := res.Trailer.Get("Grpc-Status"); got != "16" {
		t.Errorf("status %q, want 16 (unauthenticated)", got)
	}
}

// TestATenantLeavesRoomForOthersMessages holds that one tenant's messages, however
// many, leave room for those of another.
func TestATenantLeavesRoomForOthersMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, 16*env.MiB })
	w.grpcFunction("pool")
	const calls = 20
	held, leave, left := make(chan error, calls), make(chan struct{}), make(chan struct{})
	w.serve("ocr", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		held <- nil
		<-leave
		panic(http.ErrAbortHandler)
	})
	ctx, cancel := context.WithCancel(with(t, "x-api-key", w.keyOf("greedy", auth.Infer("text-recognize"))))
	defer cancel()
	conn := w.dial("")
	for range calls {
		go func() {
			in := &inferpb.ModelInferRequest{ModelName: "text-recognize", RawInputContents: [][]byte{make([]byte, 900<<10)}}
			if err := conn.Invoke(ctx, service+"ModelInfer", in, &inferpb.ModelInferResponse{}); ctx.Err() == nil {
				held <- err
			}
			left <- struct{}{}
		}()
	}
	refused := 0
	for range calls { // each is held, or is refused
		if err := <-held; err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("one tenant has all the room")
	}
	modest := with(t, "x-api-key", w.keyOf("modest", auth.Infer("iris")))
	in := &inferpb.ModelInferRequest{ModelName: "iris", RawInputContents: [][]byte{make([]byte, 900<<10)}}
	for range 3 {
		if err := conn.Invoke(modest, service+"ModelInfer", in, &inferpb.ModelInferResponse{}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	close(leave)
	for range calls {
		<-left
	}
}

// TestLargeAnswersAreHandedOn holds that an answer is handed on which is larger than all
// the room there is, since it passes.
func TestLargeAnswersAreHandedOn(t *testing.T) {
	t.Parallel()
	const size = 20 << 20
	w := newWorld(t, narrow)
	w.grpcFunction("pool").size = size
	var out inferpb.ModelInferResponse
	err := w.dial("").Invoke(with(t, "x-api-key", w.admin), service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris"}, &out, grpc.MaxCallRecvMsgSize(2*size))
	if err != nil || len(out.GetRawOutputContents()[0]) != size {
		t.Fatal(err)
	}
}

// patient is a server's answer that notes how long the next Read may take, and a body
// whose pieces come after their time.
type patient struct {
	*httptest.ResponseRecorder

	t      *testing.T
	pieces []piece
	given  time.Duration // 0: without end
}

type piece struct {
	data string
	in   time.Duration // that it takes to come
	want time.Duration // that it may take
}

// SetReadDeadline is http.ResponseController's.
func (p *patient) SetReadDeadline(at time.Time) error {
	p.given = 0
	if !at.IsZero() {
		p.given = time.Until(at)
	}
	return nil
}

// Read implements io.Reader, for the body.
func (p *patient) Read(into []byte) (int, error) {
	next := p.pieces[0]
	if p.given != next.want {
		p.t.Errorf("%d pieces before the end, it may take %v, want %v", len(p.pieces), p.given, next.want)
	}
	p.pieces = p.pieces[1:]
	time.Sleep(next.in)
	return copy(into, next.data), nil
}

// TestAMessageOfAStreamIsBoundedInTime holds that a stream may be silent between its
// messages, and that each message has to come as any body does.
func TestAMessageOfAStreamIsBoundedInTime(t *testing.T) {
	t.Parallel()
	const idle, slow, whole = 5 * time.Minute, 30 * time.Second, 2 * time.Minute
	head, piece2k := "\x00\x00\x10\x00\x00", strings.Repeat("x", 2<<10)
	for name, pieces := range map[string][]piece{
		"silent, then slow": {
			{head, 4 * time.Minute, idle}, {"x", 20 * time.Second, slow}, {"x", time.Second, 10 * time.Second}, {"x", time.Second, 9 * time.Second},
		},
		"what came buys time": {
			{head, 0, idle}, {piece2k, 20 * time.Second, slow}, {piece2k, 5 * time.Second, 12 * time.Second}, {piece2k, 0, 9 * time.Second},
		},
		"not for ever": {
			{head, 0, idle},
			{strings.Repeat("x", 60000), 25 * time.Second, slow},
			{strings.Repeat("x", 60000), 25 * time.Second, slow},
			{"x", 25 * time.Second, slow},
			{"x", 25 * time.Second, slow},
			{"x", 0, whole - 100*time.Second},
		},
		"each message anew": {
			{"\x00\x00\x00\x00", 0, idle},
			{"\x02", 25 * time.Second, slow},
			{"ab", 0, 5 * time.Second},
			{"\x00\x00\x00\x00\x00", 4 * time.Minute, idle},
			{"\x00\x00\x00\x00\x01a\x00", 4 * time.Minute, idle},
			{"\x00", 0, slow},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &patient{ResponseRecorder: httptest.NewRecorder(), t: t, pieces: pieces}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", w)
				r.Header.Set("Content-Type", "application/grpc")
				r.ProtoMajor, r.ContentLength = 2, -1
				config := gateway.Config{BodyRate: 1 << 10, BodyTimeout: slow, StreamIdle: idle, Timeout: whole}
				if err := gateway.BoundStream(config, w, r); err != nil {
					t.Fatal(err)
				}
				for i, piece := range pieces {
					buffer := make([]byte, 64<<10)
					n, err := r.Body.Read(buffer)
					if err != nil || string(buffer[:n]) != piece.data || w.given != 0 {
						t.Fatalf("piece %d: %d bytes, %v, and a deadline of %v is left", i, n, err, w.given)
					}
				}
			})
		})
	}
}
