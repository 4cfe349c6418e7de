package values

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/problem"
)

// CopyRef stores again, as another execution's of the same tenant, what was stored under
// a name of an execution and of which the ref alone is known, not its SHA-256: its bytes
// are held to what the key has of that. Errors are those of Fetch.
func (v *Values) CopyRef(ctx context.Context, tenant, from, to, name, ref, contentType string, size int64) (*envelope.Claim, error) {
	key, ours := strings.CutPrefix(ref, v.ref(envelope.Payloads(tenant, from)+name+"-"))
	if !ours || strings.Contains(key, "/") {
		return nil, problem.Invalid("ref", "expected what is stored of tenant %s and execution %s", tenant, from)
	}
	if size > v.most {
		return nil, problem.New(problem.PayloadTooLarge, "%.200q has %d bytes; expected at most %d", ref, size, v.most)
	}
	body, there, err := v.objects.Open(ctx, strings.TrimPrefix(ref, v.ref("")))
	switch {
	case errors.Is(err, ErrMissing):
		return nil, problem.New(problem.InvalidArgument, "%.200q: %w", ref, err)
	case err != nil:
		return nil, problem.New(problem.Unavailable, "fetch %.200q: %w", ref, err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, size+1))
	switch {
	case err != nil:
		return nil, problem.New(problem.Unavailable, "fetch %.200q: %w", ref, err)
	case there != size || int64(len(data)) != size || !strings.HasPrefix(key, envelope.Sum(data)[:16]):
		return nil, problem.New(problem.InvalidArgument, "%.200q: %w", ref, envelope.ErrDamaged)
	}
	return v.Store(ctx, tenant, to, name, contentType, data)
}

// Last is what was stored of an execution last, of all names that begin so and go on in
// the order of their storing; nil is nothing. It is held to what its key has of the
// SHA-256.
func (v *Values) Last(ctx context.Context, tenant, execution, prefix string) ([]byte, error) {
	if !envelope.IsTenant(tenant) || !envelope.IsExecution(execution) {
		return nil, problem.Invalid("execution", "expected a tenant's execution, got %.64q, %.64q", tenant, execution)
	}
	last := ""
	err := v.objects.Walk(ctx, envelope.Payloads(tenant, execution)+prefix, func(key string, _ time.Time) error {
		last = max(last, key)
		return nil
	})
	if err != nil {
		return nil, problem.New(problem.Unavailable, "look for what is stored of execution %s: %w", execution, err)
	}
	if last == "" {
		return nil, nil
	}
	body, size, err := v.objects.Open(ctx, last)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "fetch %.200q: %w", last, err)
	}
	defer body.Close()
	if size > v.most {
		return nil, problem.New(problem.PayloadTooLarge, "%.200q has %d bytes; expected at most %d", last, size, v.most)
	}
	data, err := io.ReadAll(io.LimitReader(body, size))
	switch {
	case err != nil:
		return nil, problem.New(problem.Unavailable, "fetch %.200q: %w", last, err)
	case !strings.Contains(last, "-"+envelope.Sum(data)[:16]):
		return nil, problem.New(problem.InvalidArgument, "%.200q: %w", last, envelope.ErrDamaged)
	}
	return data, nil
}
