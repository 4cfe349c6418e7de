package infer

import (
	"errors"
	"strconv"

	"github.com/modelserveai/modelserve/problem"
)

// The headers between the gateway and functions, and of answers; in gRPC, the
// metadata. No caller may set one: the gateway removes them on the way in.
const (
	// TenantHeader is the tenant of a request: who pays, and whose stored inputs its
	// refs name.
	TenantHeader = "Modelserve-Tenant"

	// TimeoutHeader is what is left of the request's time, in milliseconds.
	TimeoutHeader = "Modelserve-Timeout"

	// ModelHeader is the version that answered: "name@version;digest=sha256:…",
	// where the digest is the sha256 of the version's model.json.
	ModelHeader = "Modelserve-Model"

	// AliasHeader is the alias that decided on the version that answered; it is
	// absent where none did.
	AliasHeader = "Modelserve-Alias"

	// DeviceHeader is where the model ran: "cpu" or "cuda:0".
	DeviceHeader = "Modelserve-Device"

	// WakeHeader is "never" on a request that is not to start a function at zero.
	WakeHeader = "Modelserve-Wake"

	// SecretHeader proves that a request comes from who started the function, as
	// the local platform does for its processes, or from the gateway, in a cluster.
	SecretHeader = "Modelserve-Secret" //nolint:gosec // the name of one

	// CostHeader is what a call took (Usage). It may be a trailer. The gateway
	// charges it to the caller and removes it.
	CostHeader = "Modelserve-Cost"
)

// WakeNever is the value of WakeHeader.
const WakeNever = "never"

// JSONLengthHeader is the length, in bytes, of the JSON that a V2 body with binary
// tensors begins with (the binary tensor data extension).
const JSONLengthHeader = "Inference-Header-Content-Length"

// JSONLength is the number of bytes of JSON that a body begins with, by the values of
// its request's JSONLengthHeader; NoHeader where there is none.
func JSONLength(values []string) (int, error) {
	if len(values) == 0 {
		return NoHeader, nil
	}
	if len(values) > 1 {
		return 0, twice(JSONLengthHeader, values)
	}
	n, err := strconv.ParseUint(values[0], 10, 31)
	if err != nil {
		return 0, problem.Invalid(JSONLengthHeader, "expected the number of bytes of JSON at the body's head")
	}
	return int(n), nil
}

// CheckOnce refuses a request that has a header several times of which only one can be
// meant, also with the same value: of two readers each could take another. headers has
// their names as net/http writes them. What else is read by several has rules of its
// own: MediaType, the attributes of events, and lists (RFC 9110, 5.3).
func CheckOnce(headers map[string][]string) error {
	for _, name := range []string{
		VersionHeader, JSONLengthHeader, "Grpc-Timeout", "Grpc-Encoding",
		SecretHeader, TenantHeader, TimeoutHeader, WakeHeader,
	} {
		if values := headers[name]; len(values) > 1 {
			return twice(name, values)
		}
	}
	return nil
}

func twice(name string, values []string) error {
	return problem.Invalid(name, "expected the header once; got it %d times", len(values))
}

// TimingHeader says where an answer's time went
// (https://www.w3.org/TR/server-timing/): parts such as "infer;dur=1.5", in
// milliseconds. Whoever adds parts adds a header.
const TimingHeader = "Server-Timing"

// CheckSecret refuses a secret between the gateway and functions that is none, or
// cannot be a header's value. "" is no secret.
func CheckSecret(secret string) error {
	if secret == "" {
		return nil
	}
	if len(secret) < 32 || len(secret) > 256 {
		return errors.New("expected 32 to 256 characters, as openssl rand -hex 32 makes them")
	}
	for _, c := range []byte(secret) {
		if c <= ' ' || c > '~' {
			return errors.New("expected letters, digits and signs of ASCII alone")
		}
	}
	return nil
}
