package serve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// What decompressing a body holds beside it, and compressing an answer.
const (
	inflaterBytes = 64 << 10
	deflaterBytes = 1 << 20
)

// readBody reads a request's whole body, decompressed, within the bounds on
// bytes, memory and time. What it holds of the memory is held's. What is compressed is
// read whole first: decompressing it waits for nobody.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, held memory.Holder, headerLength int) ([]byte, error) {
	return s.readBodyOf(w, r, held, headerLength, s.cfg.Limits.MaxBody)
}

// readBodyOf is readBody with another bound on bytes.
func (s *Server) readBodyOf(w http.ResponseWriter, r *http.Request, held memory.Holder, headerLength int, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, problem.New(problem.PayloadTooLarge, "expected a body of at most %d bytes; %d are announced", limit, r.ContentLength)
	}
	ctx := r.Context()
	paced := s.paced(w, http.MaxBytesReader(w, r.Body, limit))
	defer paced.lift()

	wire := &wireReader{r: paced}
	squeezed := new(bytes.Reader)
	src, compressed, err := decompress(r.Header.Values("Content-Encoding"), squeezed)
	if err != nil {
		return nil, err
	}
	as := infer.Body{Length: r.ContentLength, HeaderLength: headerLength, Limit: limit, Memory: held}
	if compressed {
		as.HeaderLength = infer.NoHeader
	}
	body, err := infer.ReadBody(ctx, &endingReader{r: wire}, as)
	if err == nil && compressed {
		squeezed.Reset(body)
		defer held.Give(int64(cap(body)))
		if err = held.Take(ctx, inflaterBytes); err != nil {
			return nil, err
		}
		defer held.Give(inflaterBytes)
		as.Length, as.HeaderLength = -1, headerLength
		body, err = infer.ReadBody(ctx, s.large(ctx, r.Header).Reader(&endingReader{r: src}), as)
	}
	if err != nil {
		return nil, s.bodyError(wire, err)
	}
	return body, nil
}

// large does what takes long with a large request.
func (s *Server) large(ctx context.Context, h http.Header) nice.Large {
	return s.cfg.Large.For(ctx, s.payer(h))
}

// bodyError is the problem of a body that could not be read.
func (s *Server) bodyError(wire *wireReader, err error) error {
	var known *problem.Error
	if errors.As(err, &known) {
		return err
	}
	cause := err
	if wire.err != nil {
		cause = wire.err
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return s.tooSlow("body")
	case errors.As(cause, &tooLarge):
		return problem.New(problem.PayloadTooLarge, "expected a body of at most %d bytes", tooLarge.Limit)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case wire.err != nil:
		return problem.New(problem.MalformedBody, "the body broke off: %w", wire.err)
	default:
		return problem.New(problem.MalformedBody, "the body is not in the format of its Content-Encoding: %w", err)
	}
}

// endingReader returns the same end or error again once it has ended or failed,
// whatever lies below.
type endingReader struct {
	r     io.Reader
	ended error
}

func (e *endingReader) Read(p []byte) (int, error) {
	if e.ended != nil {
		return 0, e.ended
	}
	n, err := e.r.Read(p)
	e.ended = err
	return n, err
}

// wireReader remembers the error of the connection, to distinguish it from one of
// the decompressor's.
type wireReader struct {
	r   io.Reader
	err error
}

func (w *wireReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// decompress reads src by its Content-Encoding, of which several lines are one
// list (RFC 9110, 5.3). HTTP's deflate is zlib's format (8.4.1.2).
func decompress(encodings []string, src io.Reader) (r io.Reader, compressed bool, err error) {
	encoding := strings.Join(encodings, ", ")
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return src, false, nil
	case "gzip", "x-gzip":
		buffered := bufio.NewReader(src)
		return &lazyReader{open: func() (io.Reader, error) {
			z, err := gzip.NewReader(buffered)
			if err != nil {
				return nil, err
			}
			z.Multistream(false)
			return &membersReader{z: z, rest: buffered}, nil
		}}, true, nil
	case "deflate":
		buffered := bufio.NewReader(src)
		return &lazyReader{open: func() (io.Reader, error) {
			z, err := zlib.NewReader(buffered)
			if err != nil {
				return nil, err
			}
			return &exactReader{r: z, rest: buffered}, nil
		}}, true, nil
	default:
		return nil, false, problem.New(problem.UnsupportedMedia, "expected one Content-Encoding: gzip, deflate or identity")
	}
}

// lazyReader opens a reader at its first use: opening reads a header, which may
// fail like any other part of the body.
type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

// errFollows is of a body that goes on behind what was compressed.
var errFollows = errors.New("something follows the compressed data")

// membersReader reads gzip's members, of which there may be several (RFC 1952,
// 2.2), and refuses anything else behind them.
type membersReader struct {
	z    *gzip.Reader
	rest *bufio.Reader
}

func (m *membersReader) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	const magic = "\x1f\x8b" // of a member
	next, err := m.rest.Peek(len(magic))
	switch {
	case len(next) == 0:
		return n, err
	case !strings.HasPrefix(magic, string(next)):
		return n, errFollows
	}
	if err := m.z.Reset(m.rest); errors.Is(err, io.EOF) {
		return n, io.ErrUnexpectedEOF
	} else if err != nil {
		return n, err
	}
	m.z.Multistream(false)
	return n, nil
}

// exactReader refuses anything behind a compressed stream.
type exactReader struct {
	r    io.Reader
	rest *bufio.Reader
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if errors.Is(err, io.EOF) {
		if _, more := e.rest.ReadByte(); more == nil {
			return n, errFollows
		}
	}
	return n, err
}

// compress writes an answer through the encoding the client prefers, if it
// takes one of ours and the answer is worth it. To HTTP/1.0 an answer whose
// length is not known ends with the connection, and one that was cut off would
// look whole. One that there is no memory to compress is sent as it is. The caller
// calls done.
func (s *Server) compress(w http.ResponseWriter, r *http.Request, held memory.Holder, size int64) (out io.Writer, done func() error) {
	const worth = 1 << 10
	w.Header().Add("Vary", "Accept-Encoding")
	encoding := ""
	if size >= worth && r.ProtoAtLeast(1, 1) {
		encoding = preferred(r.Header.Values("Accept-Encoding"))
	}
	if encoding != "" && held.Take(r.Context(), deflaterBytes) != nil {
		encoding = ""
	}
	switch encoding {
	case "gzip":
		z, _ := s.gzips.Get().(*gzip.Writer)
		if z == nil {
			z, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // a valid level cannot fail
		}
		z.Reset(w)
		w.Header().Set("Content-Encoding", encoding)
		return z, func() error { defer s.gzips.Put(z); return z.Close() }
	case "deflate":
		z, _ := s.zlibs.Get().(*zlib.Writer)
		if z == nil {
			z, _ = zlib.NewWriterLevel(w, zlib.BestSpeed) // a valid level cannot fail
		}
		z.Reset(w)
		w.Header().Set("Content-Encoding", encoding)
		return z, func() error { defer s.zlibs.Put(z); return z.Close() }
	default:
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		return w, func() error { return nil }
	}
}

// preferred is gzip, deflate, or "" for neither, whichever an Accept-Encoding
// weighs most (RFC 9110, 12.5.3).
func preferred(headers []string) string {
	best, weight := "", 0.0
	for _, header := range headers {
		for part := range strings.SplitSeq(header, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name != "gzip" && name != "deflate" {
				continue
			}
			q := 1.0
			if text, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
				parsed, err := strconv.ParseFloat(text, 64)
				if err != nil {
					parsed = 0
				}
				q = parsed
			}
			if q > weight {
				best, weight = name, q
			}
		}
	}
	return best
}
