// Package deflate is gRPC's "deflate" message encoding, which is zlib's format
// (RFC 1950), for connect.WithCompression: connect-go knows only gzip of its own.
package deflate

import (
	"bufio"
	"compress/flate"
	"compress/zlib"
	"errors"
	"io"

	"connectrpc.com/connect"
)

// Name is the encoding's name on the wire.
const Name = "deflate"

// NewInflater makes a reader of messages, to be Reset on each.
func NewInflater() connect.Decompressor { return &inflater{} }

// NewDeflater makes a writer of messages, to be Reset on each.
func NewDeflater() connect.Compressor { return zlib.NewWriter(io.Discard) }

// inflater is a zlib reader that can be made before it has anything to read.
type inflater struct {
	r    io.ReadCloser
	rest io.ByteReader // where the source goes on behind the end
}

func (i *inflater) Reset(src io.Reader) error {
	exact, ok := src.(flate.Reader)
	if !ok {
		exact = bufio.NewReader(src)
	}
	i.rest, src = exact, exact
	if again, ok := i.r.(zlib.Resetter); ok {
		return again.Reset(src, nil)
	}
	r, err := zlib.NewReader(src)
	if err == nil {
		i.r = r
	}
	return err
}

func (i *inflater) Read(p []byte) (int, error) {
	if i.r == nil {
		return 0, io.EOF
	}
	n, err := i.r.Read(p)
	if errors.Is(err, io.EOF) {
		if _, more := i.rest.ReadByte(); more == nil {
			return n, errors.New("something follows the compressed data")
		}
	}
	return n, err
}

func (i *inflater) Close() error {
	if i.r == nil {
		return nil
	}
	return i.r.Close()
}
