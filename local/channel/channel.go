// Package channel is the channels of pipelines in this process: Sequences, Parallels and
// Subscriptions, the very objects that a cluster has, delivered by Knative's own dispatcher
// and fanout, as its in-memory channel does.
//
// So what holds there holds here, because it is the same code: a POST to a channel
// returns after the last step; the reply of a step is posted to the next channel; a
// failure goes to the dead-letter sink as the event went in, with knativeerrordest,
// knativeerrorcode and knativeerrordata; a 2xx that is no event ends a chain without a
// word; nothing is kept when the process ends.
//
// Knative's dispatcher knows HTTP alone, so the hub listens on a port of loopback, and
// every URL of it begins with a secret: whoever knows it reaches functions past the
// gateway. What comes in is led on in-process. In dead letters the secret is taken out
// again, and destinations read as they do in a cluster.
package channel

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/channel/multichannelfanout"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/system"
)

// Bounds of what passes through.
const (
	maxBody    = 32 << 20 // bytes of one event
	maxFailure = 768      // bytes of a failing answer: Knative's dispatcher panics above
	maxIdle    = 1000     // connections without a request, and
	maxIdleOf  = 100      // those to one address: as Knative's in-memory channel has them
)

// Config is where events go that leave the channels.
type Config struct {
	Namespace string            // of all objects: "default"
	Functions http.RoundTripper // to http://FUNCTION.NAMESPACE.svc.cluster.local
	Service   string            // name of the Service that Sinks stand for
	Sinks     http.Handler      // takes replies, dead letters and taps, by their paths
	Logger    *slog.Logger
}

// Hub is the channels that there are. Its methods may be called at any time.
type Hub struct {
	config     Config
	base       string // http://127.0.0.1:PORT/SECRET/
	secret     string
	functions  http.Handler
	dispatcher *kncloudevents.Dispatcher
	channels   *multichannelfanout.EventHandler
	server     *http.Server
	done       chan error
	closing    sync.Once
	closed     error // of Close

	mu      sync.Mutex
	applied map[string]installed // by owner
}

// installed is what one owner's objects became.
type installed struct {
	hosts     []string        // of channels
	addresses map[string]bool // that the dispatcher keeps a client for
}

// Open listens on a free port of 127.0.0.1 until Close. It sets SYSTEM_NAMESPACE in the
// environment of the process: without it Knative's dispatcher panics at
// the first failure.
func Open(ctx context.Context, config Config) (*Hub, error) {
	if err := os.Setenv(system.NamespaceEnvKey, config.Namespace); err != nil {
		return nil, fmt.Errorf("open the channels: %w", err)
	}
	kncloudevents.ConfigureConnectionArgs(&kncloudevents.ConnectionArgs{MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdleOf})
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the channels: %w", err)
	}
	h := &Hub{
		config: config, secret: rand.Text(),
		dispatcher: kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil,
			kncloudevents.WithMeterProvider(noop.NewMeterProvider()), kncloudevents.WithTraceProvider(tracenoop.NewTracerProvider())),
		channels: multichannelfanout.NewEventHandler(ctx, zap.NewNop()),
		done:     make(chan error, 1),
		applied:  map[string]installed{},
	}
	h.functions = h.proxy()
	h.base = "http://" + listener.Addr().String() + "/" + h.secret + "/"
	h.server = &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 256 << 10,
	}
	go func() { h.done <- h.server.Serve(listener) }()
	return h, nil
}

// Close cuts off what is on its way, and forgets every channel. A second Close does
// nothing, and returns the same.
func (h *Hub) Close() error {
	h.closing.Do(func() {
		h.closed = h.server.Close()
		if err := <-h.done; !errors.Is(err, http.ErrServerClosed) {
			h.closed = errors.Join(h.closed, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for owner := range h.applied {
			h.remove(owner)
		}
	})
	return h.closed
}

// ServeHTTP leads an event on: to a channel, to the service, or to a function. The
// first element of the path is the secret, the second the host.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secret, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if subtle.ConstantTimeCompare([]byte(secret), []byte(h.secret)) != 1 {
		http.NotFound(w, r)
		return
	}
	host, path, _ := strings.Cut(rest, "/")
	in := r.Clone(r.Context())
	in.Host, in.URL.Host, in.URL.Scheme = host, host, "http"
	in.URL.Path, in.URL.RawPath, in.RequestURI = "/"+path, "", ""
	in.Body = http.MaxBytesReader(w, r.Body, maxBody)
	h.hide(in.Header)
	w = &answer{ResponseWriter: w}
	name, domain, _ := strings.Cut(host, ".")
	switch {
	case "."+domain != h.domain():
		http.NotFound(w, in)
	case strings.HasSuffix(name, channelSuffix):
		h.channels.ServeHTTP(w, in)
	case name == h.config.Service:
		h.config.Sinks.ServeHTTP(w, in)
	default:
		h.functions.ServeHTTP(w, in)
	}
}

// domain ends the host of every object.
func (h *Hub) domain() string { return "." + h.config.Namespace + ".svc.cluster.local" }

// The headers of the CloudEvents extensions in which a dead letter has what failed, and
// how, in base64.
const (
	destination = "Ce-Knativeerrordest"
	reason      = "Ce-Knativeerrordata"
)

// hide takes the secret out of a dead letter: the URL that failed has it, and so has the
// text of a connection that broke.
func (h *Hub) hide(header http.Header) {
	if where := header.Get(destination); where != "" {
		header.Set(destination, strings.Replace(where, h.base, "http://", 1))
	}
	text, err := base64.StdEncoding.DecodeString(header.Get(reason))
	if err == nil && bytes.Contains(text, []byte(h.base)) {
		text = bytes.ReplaceAll(text, []byte(h.base), []byte("http://"))
		header.Set(reason, base64.StdEncoding.EncodeToString(text))
	}
}

// answer cuts a failure off at maxFailure.
type answer struct {
	http.ResponseWriter
	status int
	left   int
}

// WriteHeader begins the answer.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status, a.left = status, maxFailure
		if status >= http.StatusMultipleChoices {
			a.Header().Del("Content-Length")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write writes the body. What it cuts off counts as written.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	all := len(p)
	if a.status >= http.StatusMultipleChoices {
		p = p[:min(len(p), a.left)]
		a.left -= len(p)
	}
	n, err := a.ResponseWriter.Write(p)
	if err != nil {
		return n, err //nolint:wrapcheck // passed through
	}
	return all, nil
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// one is a channel. Knative's dispatcher writes to the reply and the dead-letter sink of a
// subscription at each event, always the same, and two events at once are a data race: so
// each event has subscriptions of its own.
type one struct {
	*fanout.FanoutEventHandler

	hub *Hub
}

// ServeHTTP takes one event.
func (o one) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own := slices.Clone(o.GetSubscriptions(r.Context()))
	for i := range own {
		own[i].Reply, own[i].DeadLetter = clone(own[i].Reply), clone(own[i].DeadLetter)
	}
	handler, err := o.hub.fanout(own)
	if err != nil {
		o.hub.config.Logger.ErrorContext(r.Context(), "an event has no channel", "error", err)
		http.Error(w, "the channel cannot be made", http.StatusInternalServerError)
		return
	}
	handler.ServeHTTP(w, r)
}

func clone(a *duckv1.Addressable) *duckv1.Addressable {
	if a == nil {
		return nil
	}
	own := *a
	return &own
}

// fan makes the handler of one channel.
func (h *Hub) fan(subscriptions []fanout.Subscription) (fanout.EventHandler, error) {
	handler, err := h.fanout(subscriptions)
	if err != nil {
		return nil, err
	}
	return one{handler, h}, nil
}

func (h *Hub) fanout(subscriptions []fanout.Subscription) (*fanout.FanoutEventHandler, error) {
	handler, err := fanout.NewFanoutEventHandler(zap.NewNop(), fanout.Config{Subscriptions: subscriptions}, nil, nil, nil,
		h.dispatcher, noop.NewMeterProvider(), tracenoop.NewTracerProvider())
	if err != nil {
		return nil, fmt.Errorf("make a channel: %w", err)
	}
	return handler, nil
}
