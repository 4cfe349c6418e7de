package serve

import (
	"io"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// bodyRate is how fast a body comes at least, in bytes a second: as fast as an
// answer has to be read (lifecycle.Reading).
const bodyRate = 16 << 10

// pacedReader ends a body that keeps us waiting: for BodyTimeout, and a second more
// for each bodyRate bytes that have come, but never for more than BodyTimeout at once.
// Only the time counts in which it is read. A client that sends a byte now and then
// does not keep its place by them.
type pacedReader struct {
	r          io.Reader
	controller *http.ResponseController
	most       time.Duration

	waited  time.Duration
	arrived int64
	until   time.Time // the deadline that is set; zero without one
	paused  bool
}

// paced paces a request's body. The caller calls lift.
func (s *Server) paced(w http.ResponseWriter, body io.Reader) *pacedReader {
	return &pacedReader{r: body, controller: http.NewResponseController(w), most: s.cfg.Limits.BodyTimeout}
}

// Read implements io.Reader.
func (p *pacedReader) Read(b []byte) (int, error) {
	if p.paused {
		return p.r.Read(b) //nolint:wrapcheck // the body's
	}
	began := time.Now()
	earned := time.Duration(p.arrived/bodyRate) * time.Second
	until := began.Add(min(p.most, p.most+earned-p.waited))
	// Setting it costs more than a short read: it may be a tenth too early.
	if p.until.IsZero() || until.Before(p.until) || until.Sub(p.until) > p.most/10 {
		_ = p.controller.SetReadDeadline(until) // there are writers without, as tests have
		p.until = until
	}
	n, err := p.r.Read(b)
	p.arrived += int64(n)
	p.waited += time.Since(began)
	return n, err
}

// lift removes the deadline, and begins anew: one that passed later would break the
// next request.
func (p *pacedReader) lift() {
	if !p.until.IsZero() {
		_ = p.controller.SetReadDeadline(time.Time{}) // it could be set, so it can be lifted
	}
	p.waited, p.arrived, p.until = 0, 0, time.Time{}
}

// pause has the reader wait for ever, or paces it from here on.
func (p *pacedReader) pause(on bool) {
	p.lift()
	p.paused = on
}

// tooSlow is the fault of a body, or a message, that does not come.
func (s *Server) tooSlow(what string) error {
	return problem.New(problem.RequestTimeout, "expected the %s at %d bytes a second or more, after %v at most", what, bodyRate, s.cfg.Limits.BodyTimeout)
}
