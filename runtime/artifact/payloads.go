package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ErrNoPayload is of an object that is not there.
var ErrNoPayload = errors.New("S3 has no such object")

// Payloads are the values of pipelines' executions, below payloads/, for the service
// that runs them. Inputs are read besides. It is safe for concurrent use.
type Payloads struct{ store *Store }

// Payloads are those of the store's bucket.
func (s *Store) Payloads() *Payloads { return &Payloads{s} }

// Put stores an object below payloads/.
func (p *Payloads) Put(ctx context.Context, key, contentType string, data []byte) error {
	if !payload(key) {
		return fmt.Errorf("expected a key below %s, got %.100q", payloadsPrefix, key)
	}
	_, err := p.store.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &p.store.bucket, Key: &key, ContentType: &contentType, Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	})
	return p.store.explain(err)
}

// Open reads an object below payloads/ or inputs/; ErrNoPayload where there is none.
func (p *Payloads) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if input := strings.TrimPrefix(key, inputsPrefix); !payload(key) && (input == key || !plain(input)) {
		return nil, 0, ErrNoPayload
	}
	out, err := p.store.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &p.store.bucket, Key: &key})
	if err = p.store.explain(err); errors.Is(err, errMissing) {
		return nil, 0, ErrNoPayload
	}
	if err != nil {
		return nil, 0, err
	}
	return out.Body, aws.ToInt64(out.ContentLength), nil
}

// Delete removes all objects below a prefix that ends in a slash and is below payloads/.
func (p *Payloads) Delete(ctx context.Context, prefix string) error {
	if !strings.HasSuffix(prefix, "/") || !payload(strings.TrimSuffix(prefix, "/")) {
		return fmt.Errorf("expected a folder below %s, got %.100q", payloadsPrefix, prefix)
	}
	var keys []string
	err := p.store.list(ctx, prefix, "", func(page *s3.ListObjectsV2Output) {
		for _, o := range page.Contents {
			keys = append(keys, aws.ToString(o.Key))
		}
	})
	if err != nil {
		return err
	}
	return p.store.removeAll(ctx, keys)
}

// Walk visits all objects below a prefix, which is below payloads/, in the order of
// their keys, with when each was stored.
func (p *Payloads) Walk(ctx context.Context, prefix string, visit func(key string, modified time.Time) error) error {
	if !strings.HasPrefix(prefix, payloadsPrefix) {
		return fmt.Errorf("expected a prefix below %s, got %.100q", payloadsPrefix, prefix)
	}
	pages := s3.NewListObjectsV2Paginator(p.store.client, &s3.ListObjectsV2Input{Bucket: &p.store.bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return p.store.explain(err)
		}
		for _, o := range page.Contents {
			if err := visit(aws.ToString(o.Key), aws.ToTime(o.LastModified)); err != nil {
				return err
			}
		}
	}
	return nil
}

// payload reports whether a key is one below payloads/.
func payload(key string) bool {
	below, ok := strings.CutPrefix(key, payloadsPrefix)
	return ok && plain(below)
}
