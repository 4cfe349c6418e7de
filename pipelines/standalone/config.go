package standalone

import (
	"cmp"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Environment is all that the process reads of its environment, as pointers
// to structs that internal/env knows: for documentation.
func Environment() []any { return []any{&config{}} }

// config is the whole configuration of the process.
type config struct {
	Port int `env:"PORT" envDefault:"8080"` // the port to listen on

	// Grace is how long what was begun may take to end after SIGTERM.
	Grace time.Duration `env:"MODELSERVE_GRACE" envDefault:"30s"`

	// Database is where pipelines and executions are: the URL of a PostgreSQL database
	// (postgres://USER:PASSWORD@HOST/DB?sslmode=verify-full) that all replicas share and
	// nothing else. It is a secret.
	Database string `env:"MODELSERVE_PIPELINES_DB,unset"`

	// Usage is the gateway's database, in which tenants are charged for the steps that ran:
	// the gateway's MODELSERVE_GATEWAY_DB, or the URL of a user who may add to usage alone.
	// Without it nobody is charged. It is a secret.
	Usage string `env:"MODELSERVE_GATEWAY_DB,unset"`

	// Redis is the URL of a Redis by which replicas wake whoever waits for an execution;
	// without one they look each second. It is a secret.
	Redis string `env:"MODELSERVE_REDIS,unset"`

	Key     string       `env:"MODELSERVE_PIPELINES_KEY,unset"`              // PEM of the private key that tickets and steps are signed with
	KeyFile string       `env:"MODELSERVE_PIPELINES_KEY_FILE" filled:"true"` // the same in a file
	Trust   ticket.Trust // what is accepted beside that key: while it is replaced, the one before

	// APISecret is what the gateway shows itself with to this process, and functions do not
	// have: other requests are refused. Where it is left out, Secret is in its place.
	APISecret string `env:"MODELSERVE_PIPELINES_SECRET,unset"`

	// Secret shows functions that a call which is answered later comes from the platform.
	Secret string `env:"MODELSERVE_GATEWAY_SECRET,unset"`

	// Namespace is where functions and the objects of pipelines are; without it, the
	// namespace of the process.
	Namespace string `env:"MODELSERVE_PIPELINES_NAMESPACE" filled:"true"`
	// Service is the Kubernetes Service of this process, which channels send to.
	Service    string `env:"MODELSERVE_PIPELINES_SERVICE" envDefault:"modelserve-pipelines"`
	Kubeconfig string `env:"KUBECONFIG"` // the cluster, where the process runs outside one

	// Ingress is a URL that the events of all channels are posted to, each with its channel's
	// name as Host; without it, each channel's own address is.
	Ingress string `env:"MODELSERVE_PIPELINES_CHANNELS" filled:"true"`
	Domain  string `env:"MODELSERVE_CLUSTER_DOMAIN" envDefault:"cluster.local"` // of the cluster's names

	Posts     int           `env:"MODELSERVE_PIPELINES_POSTS" envDefault:"256"`     // events that are on their way at once, from this replica; a quarter of them one tenant's
	Running   int           `env:"MODELSERVE_PIPELINES_RUNNING" envDefault:"0"`     // executions that run at once for one tenant, in all replicas; 0 is half of MODELSERVE_PIPELINES_POSTS
	ColdStart time.Duration `env:"MODELSERVE_PIPELINES_COLD_START" envDefault:"1m"` // how long a function may take from nothing to ready

	// Networks are those of addresses that steps outside (uri) may call beside the public
	// internet's, as 10.1.0.0/16.
	Networks []netip.Prefix `env:"MODELSERVE_PIPELINES_NETWORKS"`

	Storage   artifact.Config
	Telemetry telemetry.Config
}

// Check implements env.Checker.
func (c *config) Check() []error {
	var faults []error
	fault := func(variable, format string, args ...any) {
		faults = append(faults, env.Faultf(variable, format, args...))
	}
	if c.Port < 0 || c.Port > 65535 {
		fault("PORT", "expected 0 to 65535, got %d", c.Port)
	}
	if c.Grace < 0 {
		fault("MODELSERVE_GRACE", "expected a duration such as 30s, got %v", c.Grace)
	}
	if !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://") {
		fault("MODELSERVE_PIPELINES_DB", "expected the URL of a PostgreSQL database, postgres://…")
	}
	if c.Usage != "" && !strings.HasPrefix(c.Usage, "postgres://") && !strings.HasPrefix(c.Usage, "postgresql://") {
		fault("MODELSERVE_GATEWAY_DB", "expected the URL of the gateway's PostgreSQL database, postgres://…")
	}
	if c.Redis != "" {
		if err := redislimit.Check(c.Redis); err != nil {
			fault("MODELSERVE_REDIS", "%v", err)
		}
	}
	if _, err := c.signer(); err != nil {
		fault("MODELSERVE_PIPELINES_KEY", "%v", err)
	}
	if c.apiSecret() == "" {
		fault("MODELSERVE_PIPELINES_SECRET", "expected the secret that the gateway has: without it anybody would be whoever they say")
	}
	if u, err := url.Parse(c.Ingress); c.Ingress != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		fault("MODELSERVE_PIPELINES_CHANNELS", "expected a URL such as http://imc-dispatcher.knative-eventing.svc")
	}
	for variable, n := range map[string]int{"MODELSERVE_PIPELINES_POSTS": c.Posts - 1, "MODELSERVE_PIPELINES_RUNNING": c.Running} {
		if n < 0 {
			fault(variable, "expected a number that is not negative, of posts 1 or more")
		}
	}
	if c.ColdStart <= 0 {
		fault("MODELSERVE_PIPELINES_COLD_START", "expected a duration such as 1m, got %v", c.ColdStart)
	}
	faults = append(faults, c.Trust.Check()...)
	return append(faults, c.Storage.Check()...)
}

// signer reads the private key.
func (c *config) signer() (*sign.Signer, error) {
	text := []byte(c.Key)
	switch {
	case c.Key != "" && c.KeyFile != "":
		return nil, errors.New("expected this or MODELSERVE_PIPELINES_KEY_FILE, got both")
	case c.KeyFile != "":
		var err error
		if text, err = os.ReadFile(c.KeyFile); err != nil {
			return nil, err
		}
	case c.Key == "":
		return nil, errors.New("expected a private key in PEM, as `openssl genpkey -algorithm ed25519` makes one")
	}
	signer, err := sign.ParseSigner(text)
	if err != nil {
		return nil, errors.New("expected a private Ed25519 key in PEM (PKCS #8)") // its own error may have the key
	}
	return signer, nil
}

func (c *config) apiSecret() string { return cmp.Or(c.APISecret, c.Secret) }
