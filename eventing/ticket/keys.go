package ticket

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// The variables of keys.
const (
	publicVariable     = "MODELSERVE_PIPELINES_PUBLIC_KEY"
	publicFileVariable = "MODELSERVE_PIPELINES_PUBLIC_KEY_FILE"
)

// Trust is which keys tickets and addresses must be signed with, in the environment of
// every process that verifies them. Either variable has one or more public keys in PEM.
type Trust struct {
	PublicKey     string `env:"MODELSERVE_PIPELINES_PUBLIC_KEY" filled:"true"`      // PEM of the keys that the pipelines service signs with; without it steps of pipelines are refused
	PublicKeyFile string `env:"MODELSERVE_PIPELINES_PUBLIC_KEY_FILE" filled:"true"` // the same in a file
}

// Check implements env.Checker.
func (t *Trust) Check() []error {
	if t.PublicKey != "" && t.PublicKeyFile != "" {
		return []error{env.Faultf(publicVariable, "expected this or %s, got both", publicFileVariable)}
	}
	return nil
}

// Verifier reads the keys and logs which they are; nil when there are none. A key that
// cannot be read is an error, never no key.
func (t *Trust) Verifier(ctx context.Context, logger *slog.Logger) (*Verifier, error) {
	var keys *sign.Verifier
	var err error
	from := publicVariable
	switch {
	case t.PublicKeyFile != "":
		from = publicFileVariable
		keys, err = sign.ReadVerifier(t.PublicKeyFile)
	case t.PublicKey != "":
		keys, err = sign.ParseVerifier([]byte(t.PublicKey))
	default:
		return nil, nil //nolint:nilnil // no verifier: plans are refused
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	v := NewVerifier(keys)
	logger.InfoContext(ctx, "steps of pipelines are answered", "keys", strings.Join(v.ids(), " "), "from", from)
	return v, nil
}

// ids are the names of the keys.
func (v *Verifier) ids() []string {
	ids := make([]string, 0, len(v.keys))
	for id := range v.keys {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Verifier accepts what s signs.
func (s *Signer) Verifier() *Verifier { return NewVerifier(sign.NewVerifier(s.signer.Public())) }
