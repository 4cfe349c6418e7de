package gateway

import (
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// meterRequest counts a request that has ended, unless it was a stream whose messages
// were counted.
func (g *gateway) meterRequest(c *call.Call, rec *recorder) {
	if c.Log.Messages {
		return
	}
	status := rec.status
	if c.Log.GRPC != "" {
		status = statusOf(c.Log.Err)
	}
	var in int64
	if rec.body != nil {
		in = rec.body.came.Load()
	}
	g.meter(c, status, in, rec.bytes)
}

// meter counts a call in the usage of its caller's tenant, unless it was refused for who
// makes it, or for how much they have. The model is the one that it came to: no caller
// makes up others.
func (g *gateway) meter(c *call.Call, status int, in, out int64) {
	if g.deps.Usage == nil || c.Principal == nil {
		return
	}
	counts := usage.Counts{Requests: 1, Rows: c.Log.Used.Rows, Compute: c.Log.Used.Compute.Microseconds(), BytesIn: in, BytesOut: out}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests:
		return
	case status == 0, status >= http.StatusBadRequest, c.Log.Aborted: // 0 is of a caller who left
		counts.Errors = 1
	}
	g.deps.Usage.Add(c.Tenant(), c.Log.Resolved, time.Now(), counts)
}

// statusOf is the status of HTTP for an error of gRPC.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return problemgrpc.CodeOf(err).Row().Status
}
