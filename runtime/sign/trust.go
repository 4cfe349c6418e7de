package sign

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/modelserveai/modelserve/internal/env"
)

// Trust is which keys models and policies must be signed with, in the environment
// of every process that follows them: the gateway, which decides on the version of
// a call, and the functions. Either variable has one or more public keys in PEM;
// without both, no signature is required.
type Trust struct {
	PublicKey     string `env:"MODELSERVE_PUBLIC_KEY" filled:"true"`      // PEM; set, unsigned models and policies are refused
	PublicKeyFile string `env:"MODELSERVE_PUBLIC_KEY_FILE" filled:"true"` // the same in a file
}

// Check implements env.Checker.
func (t *Trust) Check() []error {
	if t.PublicKey != "" && t.PublicKeyFile != "" {
		return []error{env.Faultf("MODELSERVE_PUBLIC_KEY", "expected this or MODELSERVE_PUBLIC_KEY_FILE, got both")}
	}
	return nil
}

// Verifier reads the keys and logs whether signatures are required; nil when
// they are not. A key that cannot be read is an error, never no key: what was
// meant to be verified would be followed unverified.
func (t *Trust) Verifier(ctx context.Context, logger *slog.Logger) (*Verifier, error) {
	var v *Verifier
	var err error
	from := "MODELSERVE_PUBLIC_KEY"
	switch {
	case t.PublicKeyFile != "":
		from = "MODELSERVE_PUBLIC_KEY_FILE"
		v, err = ReadVerifier(t.PublicKeyFile)
	case t.PublicKey != "":
		v, err = ParseVerifier([]byte(t.PublicKey))
	default:
		logger.WarnContext(ctx, "models and policies are not verified: whoever may write to the bucket decides what runs; "+
			"to verify them, set MODELSERVE_PUBLIC_KEY or MODELSERVE_PUBLIC_KEY_FILE to the keys that they must be signed with")
		return nil, nil //nolint:nilnil // no verifier: no signature is required
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	logger.InfoContext(ctx, "models and policies are verified", "keys", strings.Join(v.names(), " "), "from", from)
	return v, nil
}
