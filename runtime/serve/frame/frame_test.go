package frame_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve/frame"
)

func request() protoreflect.MessageDescriptor {
	return (&inferpb.ModelInferRequest{}).ProtoReflect().Descriptor()
}

// framed puts a prefix before a message.
func framed(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

func squeezed(t *testing.T, w func(io.Writer) io.WriteCloser, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := w(&out)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
func zlibbed(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }

// TestFramesAreHandedOverPlain holds what the library reads of a request's frames, and
// that all that was charged for them comes back.
func TestFramesAreHandedOverPlain(t *testing.T) {
	t.Parallel()
	message, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: "m", RawInputContents: [][]byte{make([]byte, 3000)}})
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	const most = 4000
	for name, tc := range map[string]struct {
		encoding string
		body     []byte
		want     []byte
		code     problem.Code
		detail   string
	}{
		"none":                     {},
		"one":                      {"", framed(0, message), framed(0, message), "", ""},
		"empty":                    {"", framed(0, nil), framed(0, nil), "", ""},
		"several":                  {"gzip", join(framed(0, message), framed(0, nil), framed(0, message)), join(framed(0, message), framed(0, nil), framed(0, message)), "", ""},
		"gzip":                     {"gzip", framed(1, squeezed(t, gzipped, message)), framed(0, message), "", ""},
		"gzip, several":            {"gzip", join(framed(1, squeezed(t, gzipped, message)), framed(1, squeezed(t, gzipped, message))), join(framed(0, message), framed(0, message)), "", ""},
		"deflate":                  {"deflate", framed(1, squeezed(t, zlibbed, message)), framed(0, message), "", ""},
		"gzip, of two members":     {"gzip", framed(1, join(squeezed(t, gzipped, message[:100]), squeezed(t, gzipped, message[100:]))), framed(0, message), "", ""},
		"gzip, of nothing":         {"gzip", framed(1, squeezed(t, gzipped, nil)), framed(0, nil), "", ""},
		"bytes behind gzip":        {"gzip", framed(1, append(squeezed(t, gzipped, message), 0)), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"bytes behind deflate":     {"deflate", framed(1, append(squeezed(t, zlibbed, message), 0)), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"compressed and no byte":   {"gzip", framed(1, nil), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"deflated and no byte":     {"deflate", framed(1, nil), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"of an unknown encoding":   {"br", framed(1, message), framed(1, message), "", ""},
		"not compressed as said":   {"gzip", framed(1, message), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"cut amid its compression": {"gzip", framed(1, squeezed(t, gzipped, message)[:20]), nil, problem.MalformedBody, "not compressed as grpc-encoding says"},
		"too large":                {"", framed(0, make([]byte, most+1)), nil, problem.PayloadTooLarge, "at most 4000 bytes; 4001 are announced"},
		"too large decompressed":   {"gzip", framed(1, squeezed(t, gzipped, make([]byte, 1<<20))), nil, problem.PayloadTooLarge, "a message of at most 4000 bytes"},
		"broken off":               {"", join(framed(0, message), framed(0, message)[:100]), framed(0, message), problem.MalformedBody, "broke off"},
		"broken off in its prefix": {"", framed(0, message)[:3], nil, problem.MalformedBody, "broke off"},
		"of many messages":         {"", framed(0, bytes.Repeat([]byte{0x2a, 0}, 1025)), nil, problem.InvalidArgument, "inputs: expected a message that has at most 1024"},
		"packed in many pieces":    {"", framed(0, []byte("\x2a\x0f\x1a\x01\x01\x1a\x01\x01\x1a\x01\x01\x1a\x01\x01\x1a\x01\x01")), nil, problem.InvalidArgument, "shape: expected it in one piece"},
		"merged again and again":   {"", framed(0, []byte("\x2a\x0a\x2a\x00\x2a\x00\x2a\x00\x2a\x00\x2a\x00")), nil, problem.InvalidArgument, "contents: expected it in one piece"},
		"of many, compressed":      {"gzip", framed(1, squeezed(t, gzipped, bytes.Repeat([]byte{0x32, 0}, 1025))), nil, problem.InvalidArgument, "outputs: expected a message that has at most 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []io.Reader{bytes.NewReader(tc.body), iotest.OneByteReader(bytes.NewReader(tc.body)), iotest.DataErrReader(bytes.NewReader(tc.body))} {
				account := memory.New(1<<20, 0)
				held := account.Open("")
				r := frame.New(t.Context(), body, frame.Config{Encoding: tc.encoding, Most: most, Message: request(), Memory: held})
				got, err := io.ReadAll(r)
				if !bytes.Equal(got, tc.want) || problem.CodeOf(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.detail) {
					t.Errorf("%d bytes and %v, want %d and %q", len(got), err, len(tc.want), tc.detail)
				}
				if _, again := r.Read(make([]byte, 1)); err != nil && !errors.Is(again, err) || err == nil && !errors.Is(again, io.EOF) {
					t.Errorf("%v after %v", again, err)
				}
				if err == nil {
					held.Give(r.Decoded())
					if left := account.Used(); left > 64<<10 { // of the decompressor
						t.Errorf("%d bytes are still charged", left)
					}
				}
				if held.End(); account.Used() != 0 {
					t.Errorf("%d bytes are still charged", account.Used())
				}
			}
		})
	}
}

// TestAFrameIsChargedAsItArrives holds that a frame which announces much, and has little
// of it, takes little, and that one which does not fit is refused.
func TestAFrameIsChargedAsItArrives(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		sent, share int64
		used        int64 // at most
		code        problem.Code
	}{
		"a byte of 32 MiB":      {1, 40 * mib, 4 << 10, problem.MalformedBody},
		"a megabyte of 32":      {mib, 40 * mib, 2 * mib, problem.MalformedBody},
		"more than may be held": {32 * mib, 40 * mib, 32 * mib, problem.PayloadTooLarge},
		"what may be held":      {32 * mib, 130 * mib, 129 * mib, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := memory.New(2*tc.share, 0)
			held := account.Open("")
			defer held.End()
			message := protowire.AppendTag(nil, 7, protowire.BytesType)
			message = protowire.AppendVarint(message, 32*mib-6) // after its tag and this, of 5 bytes
			body := append(append([]byte{0, 2, 0, 0, 0}, message...), make([]byte, tc.sent)...)
			r := frame.New(t.Context(), bytes.NewReader(body[:min(int64(len(body)), 5+32*mib)]), frame.Config{Most: 32 * mib, Message: request(), Memory: held})
			_, err := r.Read(make([]byte, 1))
			if problem.CodeOf(err) != tc.code {
				t.Errorf("got %v, want %q", err, tc.code)
			}
			if used := account.Used(); used > tc.used {
				t.Errorf("%d bytes are charged, expected %d at most", used, tc.used)
			}
		})
	}
}

// TestACompressedFrameIsChargedAsItArrives holds what is charged of a compressed frame
// of which no more comes: what came, four times at most, whatever it announces and would
// decompress to.
func TestACompressedFrameIsChargedAsItArrives(t *testing.T) {
	t.Parallel()
	const kib, most = 1 << 10, 64 << 20
	random := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // it cannot fail
	gzip, zlib := squeezed(t, gzipped, random), squeezed(t, zlibbed, random)
	bomb := squeezed(t, gzipped, make([]byte, most/2))
	for name, tc := range map[string]struct {
		encoding   string
		message    []byte
		sent, used int64
	}{
		"no byte":                       {"gzip", gzip, 0, 4 * kib},
		"100 bytes":                     {"gzip", gzip, 100, 4 * kib},
		"100 bytes, deflated":           {"deflate", zlib, 100, 4 * kib},
		"5 KiB":                         {"gzip", gzip, 5 * kib, 16 * kib},
		"300 KiB":                       {"deflate", zlib, 300 * kib, 1024 * kib},
		"a third of a bomb":             {"gzip", bomb, 20 * kib, 64 * kib},
		"a bomb, all but its last byte": {"gzip", bomb, int64(len(bomb)) - 1, 65 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				account := memory.New(1<<30, 0)
				held := account.Open("")
				defer held.End()
				body, client := io.Pipe()
				r := frame.New(t.Context(), body, frame.Config{Encoding: tc.encoding, Most: most, Message: request(), Memory: held})
				ended := make(chan error)
				go func() {
					_, err := r.Read(make([]byte, 1))
					ended <- err
				}()
				sent := framed(1, tc.message)[:5+tc.sent]
				binary.BigEndian.PutUint32(sent[1:], most)
				if _, err := client.Write(sent); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // until it waits for more
				if used := account.Used(); used > tc.used {
					t.Errorf("%d bytes are charged, expected %d at most", used, tc.used)
				}
				_ = client.Close()
				if err := <-ended; problem.CodeOf(err) != problem.MalformedBody || !strings.Contains(err.Error(), "broke off") {
					t.Errorf("it ended with %v", err)
				}
			})
		})
	}
}

// TestWhoWaitsBetweenFrames holds that a reader reports when it waits for a frame, and
// when one has begun.
func TestWhoWaitsBetweenFrames(t *testing.T) {
	t.Parallel()
	var seen []bool
	body := append(framed(0, []byte("\x0a\x01m")), framed(0, nil)...)
	r := frame.New(t.Context(), bytes.NewReader(body), frame.Config{
		Most: 10, Message: request(), Memory: memory.Unbounded{}, Between: func(on bool) { seen = append(seen, on) },
	})
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, false, true, false, true}; len(seen) != len(want) || seen[1] || !seen[4] {
		t.Errorf("%v, want %v", seen, want)
	}
}

// attacks are messages that are small on the wire and large decoded.
func attacks() map[string][]byte {
	contents := func(field []byte) []byte { // of an input
		input := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), field)
		return protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), input)
	}
	packed := func(number protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), data)
	}
	const n = 1 << 20
	return map[string][]byte{
		"inputs":                     bytes.Repeat([]byte{0x2a, 0}, 1000),
		"outputs":                    bytes.Repeat([]byte{0x32, 0}, 1000),
		"raw_input_contents":         bytes.Repeat([]byte{0x3a, 0}, n/2),
		"bytes_contents":             contents(bytes.Repeat([]byte{0x42, 0}, n/2)),
		"int64, packed":              contents(packed(3, make([]byte, n))),
		"int32, packed":              contents(packed(2, make([]byte, n))),
		"bool, packed":               contents(packed(1, make([]byte, n))),
		"int64, of two bytes":        contents(packed(3, bytes.Repeat([]byte{0x80, 1}, n/2))),
		"int64, not packed":          contents(bytes.Repeat([]byte{0x18, 1}, n/2)),
		"floats, packed":             contents(packed(6, make([]byte, n))),
		"doubles, not packed":        contents(bytes.Repeat([]byte{0x39, 0, 0, 0, 0, 0, 0, 0, 1}, n/9)),
		"packed in pieces":           contents(bytes.Repeat(packed(3, make([]byte, n/4)), 4)),
		"a shape":                    packed(5, packed(3, make([]byte, n))),
		"unknown fields":             bytes.Repeat([]byte{0x78, 1}, n/2),
		"unknown, of other types":    bytes.Repeat([]byte{0x28, 1}, n/2),
		"parameters":                 bytes.Repeat([]byte{0x22, 0}, 1000),
		"the contents of one, again": packed(5, bytes.Repeat([]byte{0x2a, 0}, 4)),
		"a raw tensor":               packed(7, make([]byte, n)),
	}
}

// TestScanCountsWhatDecodingTakes holds the bound against what protobuf-go's decoder
// really leaves on the heap.
func TestScanCountsWhatDecodingTakes(t *testing.T) { //nolint:paralleltest // it measures the heap of the process
	for name, data := range attacks() {
		t.Run(name, func(t *testing.T) {
			bound, err := frame.Scan(request(), data)
			if err != nil {
				t.Fatal(err)
			}
			before := heap()
			var m inferpb.ModelInferRequest
			if err := proto.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			took := heap() - before
			runtime.KeepAlive(&m)
			const noise = 64 << 10
			if took > bound+noise {
				t.Errorf("%d bytes on the wire take %d decoded, %d are charged", len(data), took, bound)
			}
		})
	}
}

// heap is the bytes that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// FuzzReader holds that no body makes a reader fail otherwise than by a problem, hand
// over what is larger than it may be, or keep what it was charged.
func FuzzReader(f *testing.F) {
	for _, data := range attacks() {
		f.Add("", framed(0, data[:min(len(data), 1000)]))
	}
	f.Add("gzip", framed(1, []byte("\x1f\x8b")))
	f.Add("deflate", framed(1, []byte("\x78\x9c")))
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		account := memory.New(1<<22, 0)
		held := account.Open("")
		r := frame.New(context.Background(), bytes.NewReader(body), frame.Config{Encoding: encoding, Most: 1 << 16, Message: request(), Memory: held})
		got, err := io.ReadAll(r)
		var known *problem.Error
		if err != nil && !errors.As(err, &known) {
			t.Errorf("%v is no problem", err)
		}
		for len(got) >= 5 {
			length := int(binary.BigEndian.Uint32(got[1:]))
			if length > 1<<16 || len(got) < 5+length {
				t.Fatalf("a frame of %d bytes", length)
			}
			bound, _ := frame.Scan(request(), got[5:5+length])
			if bound < 0 {
				t.Errorf("a bound of %d bytes", bound)
			}
			got = got[5+length:]
		}
		if held.End(); account.Used() != 0 {
			t.Errorf("%d bytes are still charged", account.Used())
		}
	})
}

// TestWhoLeavesWhileALargeMessageWaitsIsNotAtFault holds the error of a message whose turn
// to be decompressed, or looked at, does not come in time.
func TestWhoLeavesWhileALargeMessageWaitsIsNotAtFault(t *testing.T) {
	t.Parallel()
	message, err := proto.Marshal(&inferpb.ModelInferRequest{RawInputContents: [][]byte{make([]byte, 3<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"": framed(0, message), "gzip": framed(1, squeezed(t, gzipped, message))} {
		for _, left := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(name+" "+left.Error(), func(t *testing.T) {
				t.Parallel()
				r := frame.New(t.Context(), bytes.NewReader(body), frame.Config{
					Encoding: name, Most: 8 << 20, Message: request(), Memory: memory.Unbounded{}, Large: func(func()) error { return left },
				})
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, left) {
					t.Errorf("got %v, want %v", err, left)
				}
			})
		}
	}
}
