package serve

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
)

// Health is whether requests are taken: from the beginning until Drain. It may
// be used from many goroutines.
type Health struct{ draining atomic.Bool }

// Drain begins the end of the process: it is not ready any more.
func (h *Health) Drain() { h.draining.Store(true) }

// isReady reports whether requests are taken.
func (h *Health) isReady() bool { return !h.draining.Load() }

// healthBody is what /healthz and /readyz answer.
type healthBody struct {
	State  string `json:"state"` // ready or draining
	Reason string `json:"reason,omitempty"`
}

func (h *Health) body() healthBody {
	if h.isReady() {
		return healthBody{State: "ready"}
	}
	return healthBody{State: "draining", Reason: "the process is stopping"}
}

// serveLive answers /healthz: a process that answers is alive, even when it
// takes nothing new.
func (s *Server) serveLive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.cfg.Health.body())
}

// serveReady answers /readyz.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, readyStatus(s.cfg.Health.isReady()), s.cfg.Health.body())
}

// serveV2Live answers /v2/health/live.
func (s *Server) serveV2Live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"live": true})
}

// serveV2Ready answers /v2/health/ready.
func (s *Server) serveV2Ready(w http.ResponseWriter, _ *http.Request) {
	ready := s.cfg.Health.isReady()
	writeJSON(w, readyStatus(ready), map[string]bool{"ready": ready})
}

func readyStatus(ready bool) int {
	if ready {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// writeJSON writes a small answer of our own making.
func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // values of our own, without cycles or NaN: cannot happen
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}
