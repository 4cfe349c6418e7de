package start

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/values"
)

// Input is what an execution begins with.
type Input struct {
	Media string // of what is stored as it is; "" is JSON
	Body  []byte // as it came
	JSON  json.RawMessage
}

// Hash is what an idempotency key compares.
func (in *Input) Hash() [sha256.Size]byte {
	h := sha256.New()
	_, _ = io.WriteString(h, in.Media+"\n") // a hash takes all
	_, _ = h.Write(in.Body)
	return [sha256.Size]byte(h.Sum(nil))
}

// Keep stores what is too large for a row, or is no JSON, and returns the input that the
// execution has.
func (in *Input) Keep(ctx context.Context, v *values.Values, tenant, id string) (envelope.Value, error) {
	if in.Media == "" {
		return v.Keep(ctx, tenant, id, "input", in.JSON) //nolint:wrapcheck // a problem
	}
	claim, err := v.Store(ctx, tenant, id, "input", in.Media, in.Body)
	if err != nil {
		return envelope.Value{}, err //nolint:wrapcheck // a problem
	}
	return Ref(claim)
}

// Ref is the JSON that says where something is stored.
func Ref(claim *envelope.Claim) (envelope.Value, error) {
	text, err := json.Marshal(contract.Ref{Ref: claim.Ref, ContentType: claim.ContentType, Size: claim.Size})
	if err != nil {
		return envelope.Value{}, fmt.Errorf("write a ref: %w", err)
	}
	return envelope.Value{JSON: text}, nil
}
