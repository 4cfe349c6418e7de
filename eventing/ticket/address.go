package ticket

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/modelserveai/modelserve/eventing/envelope"
)

// MaxAddress is the most bytes of an address: Knative's dispatcher fails to report the
// failure of a step whose URL is long.
const MaxAddress = 512

// The names of an address's query.
const (
	planName     = "plan"     // the plan's hash: its SHA-256 in hexadecimal
	pipelineName = "pipeline" // the definition's digest, without its algorithm
	keyName      = "key"
	sigName      = "sig"
)

// Query are the names of an address's query. Whoever forwards callers' requests strips
// them.
func Query() []string { return []string{planName, pipelineName, keyName, sigName} }

// digestPrefix is the algorithm of digests.
const digestPrefix = "sha256:"

func isDigest(text string) bool {
	hash, ok := strings.CutPrefix(text, digestPrefix)
	return ok && isHash(hash)
}

func isHash(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// Address is the URI-reference of a step, relative to its function's URL: "/?plan=…",
// less than MaxAddress bytes. It is signed with the plan's Function, the digest of the
// pipeline's definition, and the plan's hash. The plan itself travels in the event.
func (s *Signer) Address(digest string, p Plan) (string, error) {
	if !isDigest(digest) {
		return "", errors.New("address: expected the pipeline's digest, sha256:…")
	}
	hash, err := p.Hash()
	if err != nil {
		return "", err
	}
	return "/?" + planName + "=" + hash + "&" + pipelineName + "=" + strings.TrimPrefix(digest, digestPrefix) +
		"&" + keyName + "=" + s.key + "&" + sigName + "=" + s.sign(addressed(p.Function, digest, hash)), nil
}

// addressed is what is signed of an address.
func addressed(function, digest, hash string) string {
	return strings.Join([]string{addressDomain, function, digest, hash}, "\n")
}

// HasPlan reports whether a query is, or claims to be, that of an address.
func HasPlan(query url.Values) bool { return query.Has(planName) }

// PlanHash is the hash of a query that claims to be that of an address; "" is none.
// Nothing is verified yet.
func PlanHash(query url.Values) string { return query.Get(planName) }

// Address verifies the query of an address for a function, and returns the plan's hash
// and the pipeline's digest (sha256:…). Its error is ErrMissing, ErrMalformed,
// ErrUnknownKey or ErrForged.
func (v *Verifier) Address(function string, query url.Values) (hash, digest string, err error) {
	for _, name := range Query() {
		switch len(query[name]) {
		case 1:
		case 0:
			return "", "", fmt.Errorf("address: %s: %w", name, ErrMissing)
		default:
			return "", "", fmt.Errorf("address: %s: %w", name, ErrMalformed)
		}
	}
	hash, digest = query.Get(planName), digestPrefix+query.Get(pipelineName)
	if !isHash(hash) || !isDigest(digest) || !envelope.IsTenant(function) {
		return "", "", fmt.Errorf("address: %w", ErrMalformed)
	}
	if err := v.verify(query.Get(keyName), addressed(function, digest, hash), query.Get(sigName)); err != nil {
		return "", "", fmt.Errorf("address: %w", err)
	}
	return hash, digest, nil
}
