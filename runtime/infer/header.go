package infer

import "errors"

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
