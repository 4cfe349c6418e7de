package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Input is an object that a request refers to.
type Input struct {
	io.ReadCloser

	Size        int64
	ContentType string
}

// maxKey is how long a key of S3 may be, in bytes.
const maxKey = 1024

// Asked names what a request refers to: an object, for a tenant.
type Asked struct {
	Field  string   // of the request, which errors name
	Ref    string   // "s3://BUCKET/inputs/TENANT/…", or payloads/TENANT/
	Tenant string   // of whoever calls; "" is nobody, for whom nothing is opened
	Shared []string // what is every tenant's, below inputs/ (CheckShared)
	Most   int64    // bytes that are read
}

// CheckShared refuses what names no folder below inputs/, such as "public" or
// "team-a/forms".
func CheckShared(folder string) error {
	if !plain(folder) {
		return fmt.Errorf("expected a folder below %s, such as public or team-a/forms, got %.100q", inputsPrefix, folder)
	}
	return nil
}

// OpenInput opens what {"ref": "s3://…"} of a request names. Only the
// platform's own bucket is read, and only below inputs/ or payloads/ and the name
// of the tenant that calls, or in what the operator shares: a reference must never be
// a way to models, to what another tenant stored, or to anything else that this
// process may read. An object of more than Most bytes is problem.PayloadTooLarge,
// before it is read.
//
// What another tenant stored is answered as what is not there, with the same error
// in the same time: for both S3 is asked once.
func (s *Store) OpenInput(ctx context.Context, in Asked) (*Input, error) {
	key, mine, err := s.inputKey(in)
	if err != nil {
		return nil, err
	}
	head, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err == nil && !mine {
		err = errMissing
	} else {
		err = s.explain(err)
	}
	if err != nil {
		return nil, s.inputProblem(in, err)
	}
	size := aws.ToInt64(head.ContentLength)
	if size > in.Most {
		return nil, problem.New(problem.PayloadTooLarge, "%s: %s has %d bytes, at most %d are read", in.Field, in.Ref, size, in.Most)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: head.ETag})
	if err != nil {
		return nil, s.inputProblem(in, s.explain(err))
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

// PutPayload keeps a value of a pipeline's execution under a key below payloads/, in place
// of what has that key, and returns its address: s3://BUCKET/payloads/….
func (s *Store) PutPayload(ctx context.Context, key, contentType string, data []byte) (ref string, err error) {
	below, ok := strings.CutPrefix(key, payloadsPrefix)
	if !ok || !plain(below) || len(key) > maxKey {
		return "", fmt.Errorf("store a payload: expected a key below %s of at most %d bytes, got %.100q", payloadsPrefix, maxKey, key)
	}
	_, err = s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(data), ContentType: &contentType})
	if err != nil {
		return "", problem.New(problem.Unavailable, "store %s: %w", key, s.explain(err)).WithRetryAfter(time.Second)
	}
	return "s3://" + s.bucket + "/" + key, nil
}

// notYours is asked for, of the tenant's own inputs, where a reference names
// what is not the tenant's. Whether it is there changes nothing.
const notYours = "not-yours"

// ownInputs is the prefix of a tenant's inputs.
func ownInputs(tenant string) string { return inputsPrefix + tenant + "/" }

// inputKey takes a reference apart, strictly, and is the key to ask S3 for. mine is
// false where the reference names what is not the tenant's: then it is another key,
// of one of the tenant's inputs.
func (s *Store) inputKey(in Asked) (key string, mine bool, err error) {
	if in.Tenant == "" {
		return "", false, problem.Invalid(in.Field, "expected a call with a tenant, for whom the ref is opened: call through the gateway, which sets it, or send the bytes themselves")
	}
	// A tenant's name is a DNS label, as a model's is: nothing else may become
	// part of a key.
	if _, err := infer.ParseName(in.Tenant); err != nil {
		return "", false, problem.Invalid(in.Field, "expected a tenant whose name is a DNS label, got %.100q", in.Tenant)
	}
	expected := "expected s3://" + s.bucket + "/" + ownInputs(in.Tenant) + "…"
	if most := len("s3://") + len(s.bucket) + len("/") + maxKey; len(in.Ref) > most {
		return "", false, problem.Invalid(in.Field, "%s of at most %d bytes, got %d", expected, most, len(in.Ref))
	}
	key, ok := strings.CutPrefix(in.Ref, "s3://"+s.bucket+"/")
	below, input := strings.CutPrefix(key, inputsPrefix)
	if !input {
		var payload bool
		below, payload = strings.CutPrefix(key, payloadsPrefix)
		ok = ok && payload
	}
	if !ok {
		return "", false, problem.Invalid(in.Field, "%s, got %.100q", expected, in.Ref)
	}
	if !plain(below) {
		return "", false, problem.Invalid(in.Field, "%s with plain names between the slashes, got %.100q", expected, in.Ref)
	}
	if strings.HasPrefix(below, in.Tenant+"/") || input && shared(in.Shared, below) {
		return key, true, nil
	}
	return ownInputs(in.Tenant) + notYours, false, nil
}

// shared reports whether a key below inputs/ is in a folder that is every tenant's.
func shared(folders []string, below string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return strings.HasPrefix(below, folder+"/") })
}

// plain reports whether a part of a key can be read in one way only.
func plain(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool {
			return r < ' ' || r == 0x7f || r == '\\' || r == '?' || r == '#' || r == '\uFFFD'
		}) {
			return false
		}
	}
	return true
}

func (s *Store) inputProblem(in Asked, err error) error {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errMissing):
		return problem.Invalid(in.Field, "nothing is stored for tenant %s at %.200q; its inputs are below s3://%s/%s", in.Tenant, in.Ref, s.bucket, ownInputs(in.Tenant))
	default:
		return problem.New(problem.Unavailable, "%s: read %.200q: %w", in.Field, in.Ref, err)
	}
}
