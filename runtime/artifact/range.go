package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/modelserveai/modelserve/runtime/model"
)

// OpenFile opens length bytes of a file, from first on. It asks once: whoever
// downloads goes on where it broke off.
func (s *Store) OpenFile(ctx context.Context, ref model.Ref, file model.File, first, length int64) (io.ReadCloser, error) {
	if err := ref.Check(); err != nil {
		return nil, err
	}
	key := keyOf(ref, file.Object)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: &key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", first, first+length-1)),
	}, func(o *s3.Options) { o.Retryer = aws.NopRetryer{} })
	if err != nil {
		return nil, s.outOfRange(err, first, file.Size)
	}
	if err := checkRange(out, first, file.Size); err != nil {
		return nil, errors.Join(err, out.Body.Close())
	}
	return &body{out.Body}, nil
}

// body is an answer of S3, whose errors name no address.
type body struct{ io.ReadCloser }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	return n, interrupted(err)
}

// checkRange compares the size and range that S3 reports of an object with the
// manifest.
func checkRange(out *s3.GetObjectOutput, first, size int64) error {
	var total int64
	if r := aws.ToString(out.ContentRange); r != "" {
		span, n, ok := strings.Cut(strings.TrimPrefix(r, "bytes "), "/")
		start, _, _ := strings.Cut(span, "-")
		begin, err1 := strconv.ParseInt(start, 10, 64)
		have, err2 := strconv.ParseInt(n, 10, 64)
		if !ok || err1 != nil || err2 != nil || begin != first {
			return model.Permanent(fmt.Errorf("S3 answers the range %.50q where byte %d was asked for", r, first))
		}
		total = have
	} else {
		// A server without ranges answers the whole object.
		if first != 0 {
			return model.Permanent(errors.New("S3 answers without the range that was asked for"))
		}
		total = aws.ToInt64(out.ContentLength)
	}
	return wrongSize(total, size)
}

// wrongSize is the error of an object that has not the manifest's size.
func wrongSize(have, want int64) error {
	switch {
	case have < want:
		return model.Permanent(fmt.Errorf("truncated: got %d of %d bytes", have, want))
	case have > want:
		return model.Permanent(fmt.Errorf("altered: it has %d bytes, expected %d", have, want))
	}
	return nil
}

// outOfRange explains the refusal of a range: the object ends before it.
func (s *Store) outOfRange(err error, first, size int64) error {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable {
		return model.Permanent(fmt.Errorf("truncated: it ends before byte %d of %d", first, size))
	}
	return s.explain(err)
}
