package channel

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httputil"
	"strings"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// proxy leads events to functions.
func (h *Hub) proxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Host, r.Out.Host = r.In.Host, r.In.Host
			r.Out.URL.RawQuery = r.In.URL.RawQuery                                       // as it is: it is signed
			r.Out.Header.Set(infer.TenantHeader, r.In.Header.Get("Ce-"+envelope.Tenant)) // whose turn it is; who it is the ticket says
		},
		Transport:    h.config.Functions,
		ErrorHandler: h.failed,
		ErrorLog:     slog.NewLogLogger(h.config.Logger.Handler(), slog.LevelDebug),
	}
}

// failed answers in the place of a function that did not: as the platform's own error
// where there is one, else as a connection that broke.
func (h *Hub) failed(w http.ResponseWriter, r *http.Request, err error) {
	var known *problem.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = problem.New(problem.PayloadTooLarge, "an event has at most %d bytes", tooLarge.Limit)
	case !errors.As(err, &known) && r.Context().Err() == nil:
		err = problem.New(problem.BadGateway, "the function's connection ended before its answer: %w", problem.ForLog(err))
	}
	if problem.CodeOf(err) != problem.Cancelled {
		h.config.Logger.DebugContext(r.Context(), "a step was not answered", "host", r.Host, "error", err)
	}
	writeFailure(w, err)
}

// failure is a failing answer: what decides whether a step is tried again comes first,
// since only the beginning reaches the dead-letter sink.
type failure struct {
	Code       problem.Code `json:"code"`
	RetryAfter int          `json:"retry_after,omitempty"` // seconds
	Status     int          `json:"status"`
	Detail     string       `json:"detail"`
}

// maxDetail is how many bytes of a sentence fit into maxFailure, whatever JSON makes of them.
const maxDetail = 100

func writeFailure(w http.ResponseWriter, err error) {
	e := problem.From(err)
	f := failure{Code: e.Code, Status: e.Code.Row().Status, Detail: e.Detail, RetryAfter: int(math.Ceil(e.RetryAfter.Seconds()))}
	if len(f.Detail) > maxDetail {
		f.Detail = strings.ToValidUTF8(f.Detail[:maxDetail], "") + "…"
	}
	text, err := json.Marshal(f)
	if err != nil { // strings and numbers only: cannot happen
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(f.Status)
	_, _ = w.Write(text)
}
