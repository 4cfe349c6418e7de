// Package frame reads gRPC's frames in place of the RPC library, which allocates
// for a message whatever it says of itself: here a frame is charged as it arrives,
// decompressed within its bound, and looked at before it is decoded. The library
// gets it as it is then, under the encoding identity.
//
// It writes none, and knows no procedure.
package frame

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modelserveai/modelserve/internal/deflate"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Encodings that are decompressed here; a Reader leaves frames of others as they are.
const (
	gzipEncoding    = "gzip"
	deflateEncoding = deflate.Name
)

// Knows reports whether a grpc-encoding is decompressed here.
func Knows(encoding string) bool { return encoding == gzipEncoding || encoding == deflateEncoding }

// Config is what a Reader needs.
type Config struct {
	Encoding string                         // the request's grpc-encoding
	Most     int64                          // bytes of one message, compressed and decompressed
	Message  protoreflect.MessageDescriptor // the messages' type
	Memory   memory.Holder                  // is charged for them

	// Large does what takes long with a large message; nil is where Read is called.
	Large nice.Large

	// Between, when set, is called with true before a frame is waited for, and with
	// false once its first byte is there.
	Between func(bool)
}

// Reader is a request's body for the RPC library. Its errors are problems, or those
// of the body. It is not safe for concurrent use.
type Reader struct {
	ctx  context.Context //nolint:containedctx // io.Reader's is none; this one lives for one call
	from io.Reader
	cfg  Config

	ended   error  // once all is handed over
	head    []byte // of a frame's prefix and message: what is not handed over
	message []byte
	prefix  [prefixBytes]byte

	// Charged: for the message's buffer, for the one that the library reads it into,
	// for what it is decoded into, and for a decompressor.
	own, lent, decoded, inflating int64

	inflater decompressor
}

// prefixBytes are a flag and the message's length.
const prefixBytes = 5

// decompressor is one of gzip or deflate.
type decompressor interface {
	io.Reader
	Reset(src io.Reader) error
}

// inflaterBytes is what a decompressor holds.
const inflaterBytes = 64 << 10

// New makes a Reader of a body.
func New(ctx context.Context, body io.Reader, cfg Config) *Reader {
	if cfg.Between == nil {
		cfg.Between = func(bool) {}
	}
	return &Reader{ctx: ctx, from: body, cfg: cfg}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.head)+len(r.message) == 0 {
		if r.ended == nil {
			r.ended = r.next()
		}
		if r.ended != nil {
			return 0, r.ended
		}
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	more := copy(p[n:], r.message)
	if r.message = r.message[more:]; len(r.message) == 0 {
		r.message = nil
		r.give(&r.own)
	}
	return n + more, nil
}

// Decoded is called once the library has decoded a message. It returns what is still
// charged for that, which is the caller's to give back from now on.
func (r *Reader) Decoded() (bytes int64) {
	r.give(&r.lent)
	bytes, r.decoded = r.decoded, 0
	return bytes
}

func (r *Reader) give(n *int64) {
	if *n > 0 {
		r.cfg.Memory.Give(*n)
		*n = 0
	}
}

func (r *Reader) take(n int64, into *int64) error {
	err := r.cfg.Memory.Take(r.ctx, n)
	if err == nil {
		*into += n
	}
	return err
}

// counted has a Holder's charges counted in n.
type counted struct {
	memory.Holder
	n *int64
}

func (c counted) Take(ctx context.Context, n int64) error {
	err := c.Holder.Take(ctx, n)
	if err == nil {
		*c.n += n
	}
	return err
}

func (c counted) Give(n int64) {
	c.Holder.Give(n)
	*c.n -= n
}

// next reads the next frame, and makes it ready to be handed over.
func (r *Reader) next() error {
	r.give(&r.lent) // it has been decoded, or the library would not ask for more
	if err := r.readPrefix(); err != nil {
		return err
	}
	length := int64(binary.BigEndian.Uint32(r.prefix[1:]))
	if length > r.cfg.Most {
		return problem.New(problem.PayloadTooLarge, "expected a message of at most %d bytes; %d are announced", r.cfg.Most, length)
	}
	data, err := infer.ReadBody(r.ctx, io.LimitReader(r.from, length), r.bounds(length, &r.own))
	if errors.Is(err, io.EOF) || problem.CodeOf(err) == problem.MalformedBody {
		return brokeOff()
	}
	if err != nil {
		return err
	}
	const compressed = 1
	if r.prefix[0] == compressed && Knows(r.cfg.Encoding) {
		if data, err = r.decompress(data); err != nil {
			return err
		}
		r.prefix[0] = 0
		binary.BigEndian.PutUint32(r.prefix[1:], uint32(len(data)))
	}
	if r.prefix[0] == 0 { // the library refuses every other
		size, err := r.scan(data)
		if err == nil {
			err = r.take(size, &r.decoded)
		}
		if err != nil {
			return err
		}
	}
	r.head, r.message = r.prefix[:], data
	return r.take(2*int64(len(data)), &r.lent) // its buffer doubles
}

// scan bounds what a message is decoded into.
func (r *Reader) scan(data []byte) (size int64, err error) {
	if failed := r.cfg.Large.Of(len(data), func() { size, err = Scan(r.cfg.Message, data) }); failed != nil {
		return 0, failed
	}
	return size, err
}

func (r *Reader) bounds(length int64, charged *int64) infer.Body {
	return infer.Body{
		Name: "message", Length: length, HeaderLength: infer.NoHeader, Limit: r.cfg.Most,
		Memory: counted{r.cfg.Memory, charged},
	}
}

// readPrefix waits for a frame. io.EOF is the end of all.
func (r *Reader) readPrefix() error {
	r.cfg.Between(true)
	if _, err := io.ReadFull(r.from, r.prefix[:1]); err != nil {
		return err //nolint:wrapcheck // the body's
	}
	r.cfg.Between(false)
	_, err := io.ReadFull(r.from, r.prefix[1:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return brokeOff()
	}
	return err //nolint:wrapcheck // the body's
}

func brokeOff() error {
	return problem.New(problem.MalformedBody, "the message broke off before its announced end")
}

// decompress gives the buffer of what was compressed back, which is whole: what little
// becomes much does not wait for its sender. Of several members (RFC 1952, 2.2) it makes
// one message, and it refuses what is none behind them, as grpc-go does.
func (r *Reader) decompress(data []byte) ([]byte, error) {
	compressed := r.own
	r.own = 0
	defer r.give(&compressed)
	if r.inflater == nil {
		if err := r.take(inflaterBytes, &r.inflating); err != nil {
			return nil, err
		}
		r.inflater = new(gzip.Reader)
		if r.cfg.Encoding == deflateEncoding {
			r.inflater = deflate.NewInflater()
		}
	}
	var plain []byte
	err := r.inflater.Reset(bytes.NewReader(data))
	if err == nil {
		plain, err = infer.ReadBody(r.ctx, r.cfg.Large.Reader(r.inflater), r.bounds(-1, &r.own))
	}
	if code := problem.CodeOf(err); err != nil && (code == problem.Internal || code == problem.MalformedBody) {
		return nil, problem.New(problem.MalformedBody, "the message is not compressed as grpc-encoding says")
	}
	return plain, err
}
