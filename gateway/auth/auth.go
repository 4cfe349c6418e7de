// Package auth decides who a caller is and what they may do: credentials become a
// principal, a principal and an action become yes or no.
//
// It knows API keys; other kinds of credential join as further Authenticators
// (package token). What a principal's roles and grants come to is package access's;
// what is stored, package rights'. It does not route.
package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Principal is a caller whose identity is proved. It does not change.
type Principal struct {
	ID     string // "key:<id>" or "subject:<issuer> <subject>"; for logs and audit
	Tenant string
	Roles  []string
	Scopes []Permission

	// Lineage is that of the key; Subject is "<issuer> <subject>" of a token. One
	// of them is set.
	Lineage string
	Subject string

	IssuedAt time.Time // of the token
	Until    time.Time // when the credential ends; zero is never
	NoAdmin  bool      // whatever its roles are: its issuer may not name an admin
}

// ErrNotMine is what an Authenticator returns for a credential of a kind it
// does not know, so that the next one is asked.
var ErrNotMine = errors.New("not this authenticator's kind of credential")

// Authenticator turns a credential's text into a principal.
type Authenticator interface {
	// Authenticate returns ErrNotMine, problem.Unauthenticated for a credential
	// that is not good (any more), or problem.Unavailable when it cannot be
	// checked now.
	Authenticate(ctx context.Context, credential string) (*Principal, error)
}

// Chain asks authenticators in turn.
type Chain []Authenticator

// Authenticate implements Authenticator.
func (c Chain) Authenticate(ctx context.Context, credential string) (*Principal, error) {
	for _, a := range c {
		p, err := a.Authenticate(ctx, credential)
		if errors.Is(err, ErrNotMine) {
			continue
		}
		return p, err
	}
	return nil, problem.New(problem.Unauthenticated, "the credential is of no known kind; expected a key ms_<id>_<secret> or a token of an issuer that the gateway knows")
}

// The headers that carry a credential; gRPC metadata has the same names.
const (
	AuthorizationHeader = "Authorization"
	APIKeyHeader        = "X-Api-Key" //nolint:gosec // a header's name
)

const maxCredential = 16 << 10 // bytes; room for a JWT with many claims

// Credential finds the one credential in a request's headers. Two that differ
// are refused: which one counted would be a guess.
func Credential(h http.Header) (string, error) {
	var found string
	for _, value := range h.Values(APIKeyHeader) {
		if err := take(&found, strings.TrimSpace(value)); err != nil {
			return "", err
		}
	}
	for _, value := range h.Values(AuthorizationHeader) {
		scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", problem.New(problem.Unauthenticated, "the Authorization header's scheme is not known; expected Bearer")
		}
		if err := take(&found, strings.TrimSpace(token)); err != nil {
			return "", err
		}
	}
	if found == "" {
		return "", problem.New(problem.Unauthenticated, "no credential; expected Authorization: Bearer or X-API-Key")
	}
	return found, nil
}

func take(found *string, value string) error {
	switch {
	case value == "":
		return problem.New(problem.Unauthenticated, "the credential is empty; expected a key ms_<id>_<secret>")
	case len(value) > maxCredential:
		return problem.New(problem.Unauthenticated, "the credential is longer than %d bytes", maxCredential)
	case *found != "" && *found != value:
		return problem.New(problem.Unauthenticated, "the request has two credentials that differ; expected one")
	}
	*found = value
	return nil
}
