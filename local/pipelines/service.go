package pipelines

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/local/channel"
	"github.com/modelserveai/modelserve/pipelines/api"
	"github.com/modelserveai/modelserve/pipelines/dispatch"
	"github.com/modelserveai/modelserve/pipelines/receive"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/pipelines/shipped"
	"github.com/modelserveai/modelserve/pipelines/sqlite"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// coldStart is how long a step may wait for its function: for its program to be built,
// and to start. With the ten minutes that a chain may take it is less than what a
// channel waits for (fifteen).
const coldStart = 4 * time.Minute

// loopback are the networks that steps which are not ours may call beside the public
// internet: whoever runs the platform runs those services too.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Config is what the service is made of.
type Config struct {
	Database string // the path of its file
	Key      *sign.Signer
	Shipped  bool // the shipped functions are there, and so are their pipelines

	Objects *artifact.Payloads
	Bucket  string // that they are in

	Functions http.RoundTripper // reaches Services, as http://NAME.default.svc.cluster.local
	Services  Services
	Charges   receive.Charges // of what steps take
	Registry  prometheus.Registerer
	Logger    *slog.Logger
}

// Service is the pipelines service of a local platform.
type Service struct {
	store   *sqlite.Store
	hub     *channel.Hub
	service *service.Service
	api     *api.API
	inside  *Inside // the api
	secret  string

	starting sync.Mutex
	started  bool
}

// Open opens the database and the channels, and registers the shipped pipelines. Nothing
// of an execution happens before Start.
func Open(ctx context.Context, config Config) (*Service, error) {
	s := &Service{secret: rand.Text()}
	if err := s.open(ctx, config); err != nil {
		return nil, errors.Join(fmt.Errorf("open the pipelines: %w", err), s.Close())
	}
	return s, nil
}

func (s *Service) open(ctx context.Context, config Config) (err error) {
	if s.store, err = sqlite.Open(ctx, config.Database); err != nil {
		return err //nolint:wrapcheck // Open does
	}
	sinks := &late{}
	s.hub, err = channel.Open(ctx, channel.Config{
		Namespace: namespace, Functions: config.Functions, Service: serviceName, Sinks: sinks, Logger: config.Logger,
	})
	if err != nil {
		return err //nolint:wrapcheck // Open does
	}
	signer := ticket.NewSigner(config.Key)
	s.service, err = service.New(service.Config{Dispatch: dispatch.Config{Void: true, Synchronous: true}, ColdStart: coldStart, Allow: loopback()}, service.Deps{
		Functions: config.Functions, Charges: config.Charges,
		Store: s.store, Objects: objects{config.Objects}, Bucket: config.Bucket,
		Channels: newChannels(s.hub, s.store, config.Services, signer),
		Signer:   signer, Tickets: signer.Verifier(), Registry: config.Registry, Logger: config.Logger,
	})
	if err != nil {
		return err //nolint:wrapcheck // Open does
	}
	sinks.set(s.service.Handler())
	registered := registry.New(s.store, nil, registry.Bounds{})
	s.api, err = api.New(api.Config{Secret: s.secret}, api.Deps{
		Store: s.store, Registry: registered, Decider: s.service.Decider(), Starter: s.service.Starter(), Values: s.service.Values(), Live: s.service.Live(),
		Logger: config.Logger,
	})
	if err != nil {
		return err //nolint:wrapcheck // Open does
	}
	s.inside = &Inside{Handler: s.api}
	if !config.Shipped {
		return nil
	}
	all, err := shipped.All()
	if err != nil {
		return err //nolint:wrapcheck // Open does
	}
	for _, d := range all {
		if _, _, err := registered.Apply(ctx, registry.Shipped, d.Canonical()); err != nil {
			return fmt.Errorf("register %s: %w", d.Name, err)
		}
	}
	return nil
}

// RoundTrip is the gateway's way to the service.
func (s *Service) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(infer.SecretHeader, s.secret)
	return s.inside.RoundTrip(r)
}

// Start begins with what is due. What was on its way when the last process ended is sent
// again.
func (s *Service) Start(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := s.service.Start(ctx); err != nil {
		return fmt.Errorf("start the pipelines: %w", err)
	}
	s.started = true
	return nil
}

// Stop ends streams, begins nothing new, and waits for what is on its way until ctx
// ends; the next process sends that again. Functions must be there until it returns.
func (s *Service) Stop(ctx context.Context) error {
	s.api.Close()
	s.starting.Lock()
	defer s.starting.Unlock()
	if !s.started {
		return nil
	}
	if err := s.service.Stop(ctx); err != nil {
		return fmt.Errorf("stop the pipelines: %w", err)
	}
	return nil
}

// Ready reports whether the database answers.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.store.Ping(ctx); err != nil {
		return fmt.Errorf("the pipelines: %w", err)
	}
	return nil
}

// Close closes what Open opened. Stop comes before it, and the gateway has ended.
func (s *Service) Close() error {
	var faults []error
	if s.inside != nil {
		s.api.Close()
		s.inside.Wait()
	}
	if s.hub != nil {
		faults = append(faults, s.hub.Close())
	}
	if s.store != nil {
		faults = append(faults, s.store.Close())
	}
	return errors.Join(faults...)
}

// objects are those of S3, as values has them.
type objects struct{ *artifact.Payloads }

// Open reads an object. Its error is values.ErrMissing where there is none.
func (o objects) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, size, err := o.Payloads.Open(ctx, key)
	if errors.Is(err, artifact.ErrNoPayload) {
		return nil, 0, fmt.Errorf("%w: %w", values.ErrMissing, err)
	}
	return body, size, err //nolint:wrapcheck // as it is
}
