package gateway

import (
	"io"
	"net/http"

	"github.com/modelserveai/modelserve/gateway/call"
)

// healthz answers that the process runs.
func (*gateway) healthz(_ *call.Call, w http.ResponseWriter, _ *http.Request) error {
	writeStatus(w, "ok")
	return nil
}

// readyz answers whether calls are taken.
func (g *gateway) readyz(_ *call.Call, w http.ResponseWriter, r *http.Request) error {
	if err := g.v2.NotReady(r.Context(), nil); err != nil {
		return err
	}
	writeStatus(w, "ready")
	return nil
}

func writeStatus(w http.ResponseWriter, status string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, `{"status":"`+status+`"}`+"\n") // a caller that is gone needs no error
}
