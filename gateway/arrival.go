package gateway

import (
	"net/http"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/room"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/problem"
)

// arrivalPatience is how long a call waits for room that others have, as it does at a
// function: its caller can come again.
const arrivalPatience = time.Second

// arrival is what a request over HTTP/2 holds of its tenant's room whatever becomes of it:
// what is sent ahead of whoever reads it, and later a piece of its answer.
type arrival struct {
	of room.Tenant

	mu   sync.Mutex
	held int64 // bytes
}

// keep gives back all but n bytes.
func (a *arrival) keep(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held > n {
		a.of.Release(a.held - n)
		a.held = n
	}
}

// arrive takes what a known caller's request holds: its connection, and its arrival. A
// gRPC call of one message counts what it holds where that passes.
func (g *gateway) arrive(c *call.Call, w http.ResponseWriter, r *http.Request, e endpoint) (*arrival, error) {
	held := &arrival{of: g.room.Of(c.Tenant()).For(room.Arriving)}
	if c.Principal == nil {
		return held, nil
	}
	if !lifecycle.Own(r.Context(), c.Tenant()) {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close")
		}
		return nil, problem.New(problem.Overloaded, "the tenant has as many connections as it may; call again by one that is open").WithRetryAfter(time.Second)
	}
	if r.ProtoMajor < 2 || c.Protocol == call.GRPC && !e.up {
		return held, nil
	}
	n := int64(lifecycle.DefaultLimits().StreamBuffer)
	if r.ContentLength >= 0 { // its answer may be longer
		n = max(min(n, r.ContentLength), forward.StreamBuffer)
	}
	if !held.of.Ask(n, 0).Wait(r.Context(), arrivalPatience) {
		return nil, problem.New(problem.Overloaded, "requests that arrive take all the memory there is for them; call again").WithRetryAfter(time.Second)
	}
	held.held = n
	return held, nil
}
