package gateway

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/modelserveai/modelserve/gateway/call"
)

// healthz answers that the process runs.
func (*gateway) healthz(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	writeStatus(w, "ok", nil)
	return nil
}

// readyz answers whether calls are taken, and what is wrong all the same.
func (g *gateway) readyz(_ *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := g.v2.NotReady(r.Context(), nil); err != nil {
		return err
	}
	var troubles []string
	if g.deps.Troubles != nil {
		troubles = g.deps.Troubles()
	}
	writeStatus(w, "ready", troubles)
	return nil
}

func writeStatus(w http.ResponseWriter, status string, troubles []string) {
	text, _ := json.Marshal(struct { // cannot fail
		Status string `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{status, strings.Join(troubles, "; ")})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(text, '\n')) // a caller that is gone needs no error
}
