// Package emit sends CloudEvents to the sink that Knative's SinkBinding (or
// whoever sets the same variables) names. It sends once: retries, and where an event
// goes that no sink takes, are up to the sender of the event that it answers.
package emit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
)

// Config is what SinkBinding puts into a container's environment
// (https://knative.dev/docs/eventing/custom-event-source/sinkbinding/).
type Config struct {
	URL       string        `env:"K_SINK"`                                   // where answers to events are sent, which a SinkBinding sets; "" is back to their senders
	CACerts   string        `env:"K_CA_CERTS"`                               // certificates (PEM) that the sink's is signed by, beside the system's
	Overrides string        `env:"K_CE_OVERRIDES"`                           // {"extensions": {"name": "value"}}, set on every event
	Timeout   time.Duration `env:"MODELSERVE_SINK_TIMEOUT" envDefault:"30s"` // how long the sink may take to answer
}

// Check implements env.Checker.
func (c *Config) Check() []error {
	if c.URL == "" {
		return nil
	}
	var faults []error
	if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		faults = append(faults, env.Faultf("K_SINK", "expected the URL of an addressable, http:// or https://"))
	}
	if _, err := c.roots(); err != nil {
		faults = append(faults, env.Faultf("K_CA_CERTS", "%v", err))
	}
	if _, err := c.extensions(); err != nil {
		faults = append(faults, env.Faultf("K_CE_OVERRIDES", "%v", err))
	}
	if c.Timeout <= 0 {
		faults = append(faults, env.Faultf("MODELSERVE_SINK_TIMEOUT", "expected more than zero, got %v", c.Timeout))
	}
	return faults
}

// roots are the certificates that the sink's may be signed by; nil is the
// system's alone.
func (c *Config) roots() (*x509.CertPool, error) {
	if c.CACerts == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM([]byte(c.CACerts)) {
		return nil, errors.New("expected certificates in PEM")
	}
	return pool, nil
}

// extensions are what overrides every event's own.
func (c *Config) extensions() (map[string]string, error) {
	var overrides struct {
		Extensions map[string]string `json:"extensions"`
	}
	if c.Overrides == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(c.Overrides), &overrides); err != nil {
		return nil, fmt.Errorf(`expected {"extensions": {"name": "value"}}: %w`, err)
	}
	for name := range overrides.Extensions {
		if !event.IsExtensionNameValid(name) {
			return nil, fmt.Errorf("extension %q: expected a name of lower-case letters and digits", name)
		}
	}
	return overrides.Extensions, nil
}

// Sink takes events.
type Sink struct {
	url        string
	extensions map[string]string
	client     *http.Client
}

// New makes the sink that cfg names; nil when it names none. cfg has to be
// checked before.
func New(cfg Config) (*Sink, error) {
	if cfg.URL == "" {
		return nil, nil //nolint:nilnil // no sink is no error
	}
	roots, err := cfg.roots()
	if err != nil {
		return nil, err
	}
	extensions, err := cfg.extensions()
	if err != nil {
		return nil, err
	}
	return &Sink{url: cfg.URL, extensions: extensions, client: &http.Client{
		Timeout:   cfg.Timeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16},
		// A sink that has moved is bound anew; following would send the event twice.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Send gives the sink one event, in structured form (CloudEvents 1.0.2, HTTP
// protocol binding, 3.2), and returns when it has accepted it. An event that it
// did not accept is a problem.Unavailable that is worth sending again, or a
// problem.BadGateway that is not.
func (s *Sink) Send(ctx context.Context, e event.Event) error {
	e = e.Clone()
	for name, value := range s.extensions {
		e.SetExtension(name, value)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write event %s: %w", e.Type(), err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send event %s to K_SINK: %w", e.Type(), err)
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	telemetry.Inject(ctx, req.Header)
	res, err := s.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // the caller's own end, not the sink's
		}
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // without the sink's address, which is internal
		}
		return problem.New(problem.Unavailable, "send the answer to K_SINK: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again; the body is not needed
	switch {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode/100 == 5, res.StatusCode == http.StatusRequestTimeout, res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusNotFound:
		// Knative's own sinks answer 404 while their route is made.
		return problem.New(problem.Unavailable, "K_SINK did not take the answer: %s", res.Status)
	default:
		return problem.New(problem.BadGateway, "K_SINK refused the answer: %s", res.Status)
	}
}
