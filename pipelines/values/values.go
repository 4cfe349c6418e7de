// Package values keeps the values of executions that are too large for a row or an
// event: each is an object below payloads/TENANT/EXECUTION/, and a claim check
// (eventing/envelope) of its place, length and SHA-256 stands for it.
//
// It reads no row and decides nothing of an execution. What functions store is
// runtime/artifact's, with the same keys.
package values

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/problem"
)

// ErrMissing is of an object that is not there.
var ErrMissing = errors.New("nothing is stored there")

// Objects keeps bytes by keys. S3 is one.
type Objects interface {
	// Put stores an object, or replaces it.
	Put(ctx context.Context, key, contentType string, data []byte) error
	// Open reads an object of a known size. Its error is ErrMissing where there is none.
	Open(ctx context.Context, key string) (io.ReadCloser, int64, error)
	// Delete removes all objects whose keys begin so; none is no error.
	Delete(ctx context.Context, prefix string) error
	// Walk visits all objects whose keys begin so, in the order of their keys.
	Walk(ctx context.Context, prefix string, visit func(key string, modified time.Time) error) error
}

// JSON is the content type of values.
const JSON = "application/json"

// payloads is the prefix that all values are below.
const payloads = "payloads/"

// Values keeps and fetches values. It is safe for concurrent use.
type Values struct {
	objects Objects
	bucket  string
	most    int64
}

// New makes Values of a bucket's objects. A value has at most so many bytes.
func New(objects Objects, bucket string, most int64) *Values {
	return &Values{objects: objects, bucket: bucket, most: most}
}

// Keep is a JSON value in the form that rows and envelopes have it in: inline up to
// envelope.MaxInline bytes, and else stored under a name of its execution. The same
// bytes have the same key, and other bytes another: what a claim check names does not
// change. What is no JSON is problem.MalformedBody, too large a value
// problem.PayloadTooLarge; problem.Unavailable where the store does not take it.
func (v *Values) Keep(ctx context.Context, tenant, execution, name string, value json.RawMessage) (envelope.Value, error) {
	compact, err := envelope.Compact(value)
	if err != nil {
		return envelope.Value{}, problem.New(problem.MalformedBody, "%s: %w", name, err)
	}
	if len(compact) <= envelope.MaxInline {
		return envelope.Value{JSON: compact}, nil
	}
	claim, err := v.Store(ctx, tenant, execution, name, JSON, compact)
	if err != nil {
		return envelope.Value{}, err
	}
	return envelope.Value{Claim: claim}, nil
}

// Store stores bytes of any content type under a name of an execution. Errors are those
// of Keep.
func (v *Values) Store(ctx context.Context, tenant, execution, name, contentType string, data []byte) (*envelope.Claim, error) {
	if !envelope.IsTenant(tenant) || !envelope.IsExecution(execution) || !envelope.IsStep(name) {
		return nil, problem.Invalid("name", "expected names of a tenant, an execution and a value, got %.64q, %.64q, %.64q", tenant, execution, name)
	}
	if int64(len(data)) > v.most {
		return nil, problem.New(problem.PayloadTooLarge, "%s: expected a value of at most %d bytes, got %d", name, v.most, len(data))
	}
	sum := envelope.Sum(data)
	key := envelope.Payloads(tenant, execution) + name + "-" + sum[:16]
	if contentType == JSON {
		key += ".json"
	}
	if err := v.objects.Put(ctx, key, contentType, data); err != nil {
		return nil, problem.New(problem.Unavailable, "store %s of execution %s: %w", name, execution, err)
	}
	return &envelope.Claim{Ref: v.ref(key), SHA256: sum, Size: int64(len(data)), ContentType: contentType}, nil
}

// Fetch is a value's JSON, inline or stored, for an execution of a tenant: a claim check
// that names what is not theirs is refused, and bytes that are not those of the claim
// check are envelope.ErrDamaged. Errors are problems: problem.Unavailable where the
// store does not answer, and is worth another try; else problem.InvalidArgument.
func (v *Values) Fetch(ctx context.Context, tenant, execution string, value envelope.Value) (json.RawMessage, error) {
	if value.Claim == nil {
		return value.JSON, nil
	}
	if !value.Claim.Is(tenant, execution) {
		return nil, problem.Invalid("ref", "expected a claim check of tenant %s and execution %s", tenant, execution)
	}
	return v.read(ctx, value.Claim)
}

// read fetches an object, and holds it to its claim check.
func (v *Values) read(ctx context.Context, claim *envelope.Claim) ([]byte, error) {
	key, ok := strings.CutPrefix(claim.Ref, v.ref(""))
	if !ok || strings.Contains(key, "/../") || strings.Contains(key, "//") {
		return nil, problem.Invalid("ref", "expected s3://%s/…, got %.100q", v.bucket, claim.Ref)
	}
	body, size, err := v.objects.Open(ctx, key)
	switch {
	case errors.Is(err, ErrMissing):
		return nil, problem.New(problem.InvalidArgument, "%.200q: %w", claim.Ref, err)
	case err != nil:
		return nil, problem.New(problem.Unavailable, "fetch %.200q: %w", claim.Ref, err)
	}
	defer body.Close()
	if size > v.most {
		return nil, problem.New(problem.PayloadTooLarge, "%.200q has %d bytes; expected at most %d", claim.Ref, size, v.most)
	}
	data, err := io.ReadAll(io.LimitReader(body, size))
	switch {
	case err != nil || int64(len(data)) != size:
		return nil, problem.New(problem.Unavailable, "fetch %.200q: it was cut short: %w", claim.Ref, errors.Join(err, io.ErrUnexpectedEOF))
	case size != claim.Size || envelope.Sum(data) != claim.SHA256:
		return nil, problem.New(problem.InvalidArgument, "%.200q: %w", claim.Ref, envelope.ErrDamaged)
	}
	return data, nil
}

// Copy stores a value of one execution again as another's of the same tenant, which may
// then outlive it. A tenant's input, which is no execution's, stays where it is.
func (v *Values) Copy(ctx context.Context, tenant, from, to, name string, value envelope.Value) (envelope.Value, error) {
	if value.Claim == nil || !strings.HasPrefix(value.Claim.Ref, v.ref(payloads)) {
		return value, nil
	}
	data, err := v.Fetch(ctx, tenant, from, value)
	if err != nil {
		return envelope.Value{}, err
	}
	claim, err := v.Store(ctx, tenant, to, name, value.Claim.ContentType, data)
	if err != nil {
		return envelope.Value{}, err
	}
	return envelope.Value{Claim: claim}, nil
}

// Erase removes all that is stored of an execution.
func (v *Values) Erase(ctx context.Context, tenant, execution string) error {
	if !envelope.IsTenant(tenant) || !envelope.IsExecution(execution) {
		return problem.Invalid("execution", "expected a tenant's execution, got %.64q, %.64q", tenant, execution)
	}
	if err := v.objects.Delete(ctx, envelope.Payloads(tenant, execution)); err != nil {
		return problem.New(problem.Unavailable, "erase the values of execution %s: %w", execution, err)
	}
	return nil
}

func (v *Values) ref(key string) string { return "s3://" + v.bucket + "/" + key }
