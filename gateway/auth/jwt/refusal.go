package jwt

import (
	"errors"

	"github.com/modelserveai/modelserve/problem"
)

// outcome is what became of a token, for the metric.
type outcome string

const (
	cached        outcome = "cached"
	verified      outcome = "verified"
	malformed     outcome = "malformed"
	unknownIssuer outcome = "unknown_issuer"
	badSignature  outcome = "bad_signature" // also: an unknown key, an algorithm not listed
	badClaims     outcome = "bad_claims"
	expired       outcome = "expired"
	early         outcome = "early"
	otherAudience outcome = "other_audience"
	unmapped      outcome = "unmapped" // to no tenant, or to no roles
	noKeys        outcome = "no_keys"
)

// refusal is why a token is not taken. Its text is for the caller, and says only
// what a token's owner can do something about; its reason is for the log.
type refusal struct {
	outcome outcome
	reason  error
}

func refuse(o outcome, reason error) *refusal { return &refusal{o, reason} }

func (r *refusal) Error() string {
	switch r.outcome {
	case expired:
		return "the token is expired"
	case early:
		return "the token is not valid yet"
	case noKeys:
		return "the token cannot be checked now"
	default:
		return "the token is not valid"
	}
}

func (r *refusal) Unwrap() error { return r.reason }

// problem is the refusal as callers see it.
func (r *refusal) problem() error {
	if r.outcome == noKeys {
		return problem.New(problem.Unavailable, "%w", r).WithRetryAfter(fetchCooldown)
	}
	return problem.New(problem.Unauthenticated, "%w", r)
}

// Reason is why Authenticate refused a token, for the log; "" of other errors. It
// repeats nothing of the token but what an operator's expressions say of its claims.
func Reason(err error) string {
	var r *refusal
	if !errors.As(err, &r) {
		return ""
	}
	return string(r.outcome) + ": " + r.reason.Error()
}
