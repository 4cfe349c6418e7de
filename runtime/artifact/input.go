package artifact

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/modelserveai/modelserve/internal/problem"
)

// Input is an object that a request refers to.
type Input struct {
	io.ReadCloser

	Size        int64
	ContentType string
}

// maxRef bounds a reference; S3 keys have at most 1024 bytes.
const maxRef = 1200

// OpenInput opens what {"ref": "s3://…"} of a request names. Only the
// platform's own bucket is read, and only below inputs/: a reference must never
// be a way to models, or to anything else that this process may read. field
// names the reference in errors. An object of more than most bytes is
// problem.PayloadTooLarge, before it is read.
func (s *Store) OpenInput(ctx context.Context, field, ref string, most int64) (*Input, error) {
	key, err := s.inputKey(field, ref)
	if err != nil {
		return nil, err
	}
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return nil, inputProblem(field, ref, s.explain(err))
	}
	size := aws.ToInt64(head.ContentLength)
	if size > most {
		return nil, problem.New(problem.PayloadTooLarge, "%s: %s has %d bytes, at most %d are read", field, ref, size, most)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: head.ETag})
	if err != nil {
		return nil, inputProblem(field, ref, s.explain(err))
	}
	return &Input{
		ReadCloser: struct {
			io.Reader
			io.Closer
		}{io.LimitReader(out.Body, size), out.Body},
		Size:        size,
		ContentType: aws.ToString(out.ContentType),
	}, nil
}

// inputKey takes a reference apart, strictly.
func (s *Store) inputKey(field, ref string) (string, error) {
	expected := "expected s3://" + s.bucket + "/" + inputsPrefix + "…"
	if len(ref) > maxRef {
		return "", problem.Invalid(field, "%s of at most %d bytes, got %d", expected, maxRef, len(ref))
	}
	key, ok := strings.CutPrefix(ref, "s3://"+s.bucket+"/")
	if !ok || !strings.HasPrefix(key, inputsPrefix) {
		return "", problem.Invalid(field, "%s, got %.100q", expected, ref)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(key, inputsPrefix), "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool {
			return r < ' ' || r == 0x7f || r == '\\' || r == '?' || r == '#' || r == '\uFFFD'
		}) {
			return "", problem.Invalid(field, "%s with plain names between the slashes, got %.100q", expected, ref)
		}
	}
	return key, nil
}

func inputProblem(field, ref string, err error) error {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errMissing):
		return problem.Invalid(field, "nothing is stored at %.200q", ref)
	default:
		return problem.New(problem.Unavailable, "%s: read %.200q: %w", field, ref, err)
	}
}
