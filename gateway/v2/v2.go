// Package v2 is the Open Inference Protocol at the gateway, by REST and by gRPC: it
// forwards inferences by package door, and answers by itself what manifests hold
// (metadata, readiness, the index), so that asking wakes nothing.
//
// It decodes no tensor.
package v2

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/gateway/resolve"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/nice"
	"github.com/modelserveai/modelserve/internal/wellknown"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Config is what a Service works with.
type Config struct {
	Version        string // of the platform
	MaxMessage     int64  // bytes of a gRPC message
	Timeout        time.Duration
	StreamInFlight int // messages of a stream that are answered at once

	Door          *door.Door
	Authenticator auth.Authenticator // for who watches the health
	Resolver      *resolve.Resolver
	Forwarder     forward.Forwarder
	Proxy         *forward.Proxy
	Routes        *route.Routes
	Manifests     Manifests

	// Ready is asked last for the platform's readiness; it may be nil.
	Ready func(context.Context) error

	// Large does what takes long with large gRPC messages.
	Large *nice.Threads

	// Room is the memory of gRPC messages and their answers.
	Room *room.Room

	// StreamPatience is how long a stream is held back, with nothing under way, for
	// room that others have.
	StreamPatience time.Duration

	// Messages counts the messages of streams, by function and gRPC code.
	Messages *prometheus.CounterVec

	// MessageEnded notes a message of a stream that was answered, with its Log's error
	// where there is one, and what came and went for it, in bytes.
	MessageEnded func(ctx context.Context, c *call.Call, in, out int64)
}

// Manifests are what is known of published models.
type Manifests interface {
	// Names lists the published models, sorted.
	Names(ctx context.Context) ([]string, error)

	// Model returns one version, or problem.ModelNotFound. It is shared: the
	// caller does not change it.
	Model(ctx context.Context, name string, version int) (*model.Summary, error)
}

// Service answers the protocol.
type Service struct {
	Config

	procedures map[string]procedure
	wellknown  *wellknown.Services
}

// New makes a Service.
func New(c Config) *Service {
	s := &Service{Config: c}
	s.procedures, s.wellknown = s.newProcedures(), s.newWellknown()
	return s
}

// Endpoint is one URL, by a pattern of http.ServeMux.
type Endpoint struct {
	Method, Pattern string
	Limits          bool // it has the door limit what it is for
	Serve           func(c *call.Call, w http.ResponseWriter, r *http.Request) error
}

// Endpoints are the protocol's URLs. All are on functions' hosts too.
func (s *Service) Endpoints() []Endpoint {
	table := []Endpoint{
		{http.MethodGet, "/v2", false, s.serverMetadata},
		{http.MethodGet, "/v2/health/live", false, s.live},
		{http.MethodGet, "/v2/health/ready", false, s.ready},
		{http.MethodGet, "/v2/models/stats", true, s.statistics},
		{http.MethodGet, "/v2/repository/index", false, s.index},
		{http.MethodPost, "/v2/repository/index", false, s.index},
		{http.MethodPost, "/v2/repository/models/{model}/load", true, s.load},
		{http.MethodPost, "/v2/repository/models/{model}/unload", true, s.unload},
	}
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		table = append(table,
			Endpoint{http.MethodGet, model, true, s.modelMetadata},
			Endpoint{http.MethodGet, model + "/ready", true, s.modelReady},
			Endpoint{http.MethodGet, model + "/config", true, s.modelConfig},
			Endpoint{http.MethodGet, model + "/stats", true, s.statistics},
			Endpoint{http.MethodPost, model + "/infer", true, s.infer})
	}
	return table
}

// infer forwards an inference to the version it resolves to.
func (s *Service) infer(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	version, err := infer.VersionOf(r.PathValue("version"), r.Header.Values(infer.VersionHeader))
	if err != nil {
		return err
	}
	r.Header.Del(infer.VersionHeader) // from here on it is in the path
	return s.toModel(c, w, r, door.Ask{Verb: auth.DoInfer, Model: r.PathValue("model"), Version: version}, "/infer")
}

// modelConfig forwards too: the configuration has where the model runs, which
// only its function knows.
func (s *Service) modelConfig(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	return s.toModel(c, w, r, door.Ask{Verb: auth.DoRead, Model: r.PathValue("model"), Version: r.PathValue("version")}, "/config")
}

func (s *Service) toModel(c *call.Call, w http.ResponseWriter, r *http.Request, a door.Ask, leaf string) error {
	p, err := s.Door.Pass(r.Context(), c, a)
	if err != nil {
		return err
	}
	path := "/v2/models/" + p.Target.Ref.Name
	if p.Target.Version != "" {
		path += "/versions/" + p.Target.Version
	}
	return p.Serve(s.Proxy, w, r, path+leaf)
}
