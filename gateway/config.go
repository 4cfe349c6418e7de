package gateway

import (
	"cmp"
	"errors"
	"net/netip"
	"net/url"
	"time"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Config bounds the gateway. Zero fields mean their defaults.
type Config struct {
	// Version is the platform's, for GET /v2.
	Version string

	// Memory is what the process may have, in bytes; 0 where that is not known.
	Memory int64

	MaxBody    env.Size `env:"MODELSERVE_MAX_BODY" envDefault:"32MiB"`
	MaxHeaders env.Size `env:"MODELSERVE_MAX_HEADERS" envDefault:"32KiB"` // names, values and the request line

	// MaxInflight bounds the memory of gRPC messages that are being handed on, and of
	// answers that wait for their turn: those of all callers together, of which one tenant
	// has at most half, and eight of the largest messages at least. A message that says at
	// its beginning where it goes passes, and takes 512 KiB; one that is compressed, or in
	// another order than encoders write, is held. An answer whose turn it is passes. The
	// process takes up to twice as much, until what is over is collected. 0 is a quarter of
	// what the process may have, at most 512 MiB.
	MaxInflight env.Size `env:"MODELSERVE_MAX_INFLIGHT"`

	// Timeout is the budget of one request, forwarded to the function as what is
	// left of it.
	Timeout time.Duration `env:"MODELSERVE_REQUEST_TIMEOUT" envDefault:"5m"`

	// A client may keep its body waiting for BodyTimeout, and longer in all by a
	// second for each BodyRate bytes of it, but never longer at once. A stream's message
	// is a body, and is itself kept waiting for BodyTimeout at most for memory that
	// others have.
	BodyTimeout time.Duration `env:"MODELSERVE_BODY_TIMEOUT" envDefault:"30s"`
	BodyRate    env.Size      `env:"MODELSERVE_BODY_RATE" envDefault:"16KiB"`

	// StreamIdle ends a gRPC stream without a message for so long, and
	// StreamInFlight bounds the messages of one that are being answered.
	StreamIdle     time.Duration `env:"MODELSERVE_STREAM_IDLE" envDefault:"5m"`
	StreamInFlight int           `env:"MODELSERVE_STREAM_IN_FLIGHT" envDefault:"8"`

	// AccessRate bounds the lines of the access log in a second: those of requests
	// that were answered, and as many of others. MODELSERVE_LOG_LEVEL=warn leaves
	// the answered out.
	AccessRate int `env:"MODELSERVE_ACCESS_LOG_RATE" envDefault:"100"`

	// MaxKept bounds what the bodies of inferences take in all that are kept, each whole,
	// to run them again when their function breaks off; one tenant has at most half. One that is not kept is not run again,
	// and, where it is JSON, its timeout is its function's alone to keep. A gRPC message
	// that is held is one of MaxInflight, and is not counted again. 0 is a sixteenth of what the process
	// may have, at most 128 MiB, and two of the largest bodies at least.
	MaxKept env.Size `env:"MODELSERVE_MAX_KEPT"`

	// Hosts are the gateway's own where they have the form of a function's.
	Hosts []string `env:"MODELSERVE_HOSTS"`

	// Secret shows functions that a request comes from the gateway, which then open
	// what its tenant stored. They have the same one; "" is none.
	Secret string `env:"MODELSERVE_GATEWAY_SECRET,unset" filled:"true"`

	// Pipelines is the address of the pipelines service, such as
	// http://modelserve-pipelines.modelserve.svc.cluster.local: what is below /v1/pipelines,
	// /v1/executions, /v1/dead-letters and /v1/schedules goes there. Without it there are no pipelines.
	Pipelines string `env:"MODELSERVE_PIPELINES_URL"`

	// PipelinesSecret shows the pipelines service that a request comes from the gateway,
	// whose tenant it then believes. It has the same one, and functions do not: where it is
	// left out, Secret is in its place, and whoever has a function's environment could show
	// themselves to the service as the gateway.
	PipelinesSecret string `env:"MODELSERVE_PIPELINES_SECRET,unset" filled:"true"`

	// Public is the platform's own address, as its callers have it: what is answered later
	// is found there. Without it that is what the call was sent to, without the function's
	// name.
	Public string `env:"MODELSERVE_PUBLIC_URL"`

	// TrustedProxies are the networks whose X-Forwarded-Host is believed, and whose
	// X-Forwarded-For, up to the rightmost entry that is of none of them. Whoever can
	// call from one of them chooses the address that failures are counted by.
	TrustedProxies []netip.Prefix `env:"MODELSERVE_TRUSTED_PROXIES"`
}

func (c Config) withDefaults() Config {
	setDefault(&c.Version, "dev")
	setDefault(&c.MaxBody, 32*env.MiB)
	setDefault(&c.MaxHeaders, 32*env.KiB)
	setDefault(&c.MaxInflight, c.part(4, 512*env.MiB))
	setDefault(&c.MaxKept, max(c.part(16, 128*env.MiB), 2*(c.MaxBody+env.MiB)))
	setDefault(&c.Timeout, 5*time.Minute)
	setDefault(&c.BodyTimeout, 30*time.Second)
	setDefault(&c.BodyRate, 16*env.KiB)
	setDefault(&c.StreamIdle, 5*time.Minute)
	setDefault(&c.StreamInFlight, 8)
	setDefault(&c.AccessRate, 100)
	return c
}

// part is one of so many parts of what the process may have, at most most.
func (c Config) part(of env.Size, most env.Size) env.Size {
	if c.Memory <= 0 {
		return most
	}
	return min(env.Size(c.Memory)/of, most)
}

// Limits bound the server that a gateway is behind: what its connections cost, of all of
// the memory at most a quarter.
func (c Config) Limits(tel *telemetry.Telemetry) lifecycle.Limits {
	c = c.withDefaults()
	limits := lifecycle.DefaultLimits()
	limits.HeaderBytes = max(limits.HeaderBytes, 2*int(c.MaxHeaders)) // the gateway refuses large ones itself, in the right format
	limits.Drain = limits.Drain.Over(int64(c.MaxBody), tel.Drained)
	limits.Crowd = lifecycle.Crowd{Bytes: int64(c.part(4, env.GiB)), Proxies: c.TrustedProxies, Refused: tel.ConnectionRefused}
	return limits
}

// maxMaxBody keeps message sizes within what gRPC libraries count with.
const maxMaxBody = 1 * env.GiB

// Check implements env.Checker.
func (c *Config) Check() []error {
	var faults []error
	if c.MaxBody < 0 || c.MaxBody > maxMaxBody {
		faults = append(faults, env.Faultf("MODELSERVE_MAX_BODY", "expected at most %v, got %v", maxMaxBody, c.MaxBody))
	}
	if c.MaxKept < 0 {
		faults = append(faults, env.Faultf("MODELSERVE_MAX_KEPT", "expected a size, or 0, got %v", c.MaxKept))
	}
	if c.MaxHeaders < 0 || c.MaxHeaders > env.MiB {
		faults = append(faults, env.Faultf("MODELSERVE_MAX_HEADERS", "expected at most %v, got %v", env.MiB, c.MaxHeaders))
	}
	for _, bound := range []struct {
		variable string
		is       time.Duration
	}{
		{"MODELSERVE_REQUEST_TIMEOUT", c.Timeout},
		{"MODELSERVE_BODY_TIMEOUT", c.BodyTimeout},
		{"MODELSERVE_STREAM_IDLE", c.StreamIdle},
	} {
		if bound.is < 0 || bound.is > 24*time.Hour {
			faults = append(faults, env.Faultf(bound.variable, "expected at most 24h, got %v", bound.is))
		}
	}
	if c.StreamInFlight < 0 || c.StreamInFlight > 1000 {
		faults = append(faults, env.Faultf("MODELSERVE_STREAM_IN_FLIGHT", "expected 1 to 1000, got %d", c.StreamInFlight))
	}
	if err := infer.CheckSecret(c.Secret); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_GATEWAY_SECRET", "%v", err))
	}
	if _, err := c.pipelines(); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_PIPELINES_URL", "expected the URL of the pipelines service, such as http://modelserve-pipelines"))
	}
	if address, err := url.Parse(c.Public); c.Public != "" && (err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "") {
		faults = append(faults, env.Faultf("MODELSERVE_PUBLIC_URL", "expected the platform's own address, such as https://models.example.com"))
	}
	if err := infer.CheckSecret(c.PipelinesSecret); err != nil {
		faults = append(faults, env.Faultf("MODELSERVE_PIPELINES_SECRET", "%v", err))
	}
	if c.Pipelines != "" && c.pipelinesSecret() == "" {
		faults = append(faults, env.Faultf("MODELSERVE_PIPELINES_SECRET", "expected the secret that the service at MODELSERVE_PIPELINES_URL asks for"))
	}
	for _, network := range c.TrustedProxies {
		if network.Bits() == 0 {
			faults = append(faults, env.Faultf("MODELSERVE_TRUSTED_PROXIES", "expected the networks of proxies, got %v, which is everybody's: each caller would choose their address", network))
		}
	}
	if c.AccessRate < 0 || c.AccessRate > 1_000_000 {
		faults = append(faults, env.Faultf("MODELSERVE_ACCESS_LOG_RATE", "expected 1 to 1000000 lines a second, got %d", c.AccessRate))
	}
	return faults
}

// pipelines is the address of the pipelines service; without one that of a transport
// which reaches it wherever it is.
func (c *Config) pipelines() (*url.URL, error) {
	address, err := url.Parse(cmp.Or(c.Pipelines, "http://pipelines"))
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" || address.User != nil || address.RawQuery != "" || address.Fragment != "" {
		return nil, errors.New("it is no URL of a service")
	}
	return address, nil
}

func (c *Config) pipelinesSecret() string { return cmp.Or(c.PipelinesSecret, c.Secret) }

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
