package serve

import (
	"encoding/json"
	"net/http"
	"sync"
)

// Phase is where a server is in its life.
type Phase string

// The phases, in the order of a life. Failed may still turn Ready, when a later
// load succeeds; Draining is the last.
const (
	PhaseLoading  Phase = "loading"
	PhaseReady    Phase = "ready"
	PhaseFailed   Phase = "failed"
	PhaseDraining Phase = "draining"
)

// Health is a server's phase, with the reason for it. It begins loading. It may
// be used from many goroutines.
type Health struct {
	mu     sync.Mutex
	phase  Phase
	reason string
}

// NewHealth makes a Health that is loading.
func NewHealth() *Health { return &Health{phase: PhaseLoading} }

// Loading says what is being waited for.
func (h *Health) Loading(reason string) { h.set(PhaseLoading, reason) }

// Ready says that requests are answered.
func (h *Health) Ready() { h.set(PhaseReady, "") }

// Fail says why requests are not answered, and that waiting will not help.
func (h *Health) Fail(reason string) { h.set(PhaseFailed, reason) }

// Drain says that the process is about to end. Nothing else is said after it.
func (h *Health) Drain() { h.set(PhaseDraining, "the process is stopping") }

func (h *Health) set(phase Phase, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase != PhaseDraining {
		h.phase, h.reason = phase, reason
	}
}

// State is the phase now, and the reason for it.
func (h *Health) State() (Phase, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.phase, h.reason
}

// isReady reports whether the phase is Ready.
func (h *Health) isReady() bool {
	phase, _ := h.State()
	return phase == PhaseReady
}

// healthBody is what /healthz and /readyz answer.
type healthBody struct {
	State  Phase  `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// serveLive answers /healthz: a process that answers is alive, whatever its
// phase.
func (s *Server) serveLive(w http.ResponseWriter, _ *http.Request) {
	phase, reason := s.cfg.Health.State()
	writeJSON(w, http.StatusOK, healthBody{State: phase, Reason: reason})
}

// serveReady answers /readyz.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	phase, reason := s.cfg.Health.State()
	writeJSON(w, readyStatus(phase == PhaseReady), healthBody{State: phase, Reason: reason})
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
