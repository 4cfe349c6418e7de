package activator

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/local/revision"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// coldParts are the parts of a cold start that a function reports, in the
// order in which they happen.
var coldParts = []string{"fetch", "verify", "load", "warm"} //nolint:gochecknoglobals // a constant, but Go has no constant slices

// addParts adds the platform's own parts to Server-Timing
// (https://www.w3.org/TR/server-timing/): build is the wait for the program,
// schedule the one for a slot; on a cold start, schedule is up to the process and
// start from there to readiness, less the parts that the function reports.
func (a *Activator) addParts(resp *http.Response, service string, lease *revision.Lease, arrived time.Time) {
	if lease.Build >= time.Millisecond {
		addTiming(resp.Header, "build", lease.Build)
	}
	if lease.Cold == nil {
		if lease.Waited >= time.Millisecond {
			addTiming(resp.Header, "schedule", lease.Waited)
		}
		return
	}
	reported := parseTiming(resp.Header)
	start := lease.Cold.Start
	var inside []Part
	for _, name := range coldParts {
		if d, ok := reported[name]; ok {
			inside = append(inside, Part{name, d})
			start -= d
		}
	}
	start = max(0, start)
	var parts []Part
	if lease.Build >= time.Millisecond {
		parts = append(parts, Part{"build", lease.Build})
	}
	parts = append(parts, Part{"schedule", lease.Cold.Schedule}, Part{"start", start})
	parts = append(parts, inside...)
	for _, name := range []string{"queue", "batch", "infer"} {
		if d := reported[name]; d >= 50*time.Microsecond {
			parts = append(parts, Part{name, d})
		}
	}
	addTiming(resp.Header, "schedule", lease.Cold.Schedule)
	addTiming(resp.Header, "start", start)
	a.cold(Cold{Service: service, FromZero: lease.Cold.FromZero, Total: time.Since(arrived), Parts: parts})
}

func addTiming(h http.Header, name string, d time.Duration) {
	h.Add(infer.TimingHeader, fmt.Sprintf("%s;dur=%.3f", name, float64(d)/float64(time.Millisecond)))
}

// parseTiming reads the durations of Server-Timing, which are milliseconds. What
// cannot be read is left out: it is for people.
func parseTiming(h http.Header) map[string]time.Duration {
	parts := map[string]time.Duration{}
	for _, line := range h.Values(infer.TimingHeader) {
		for metric := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(metric), ";")
			for p := range strings.SplitSeq(params, ";") {
				value, ok := strings.CutPrefix(strings.TrimSpace(p), "dur=")
				if ms, err := strconv.ParseFloat(value, 64); ok && err == nil && ms >= 0 && ms < 1e9 {
					parts[name] = time.Duration(ms * float64(time.Millisecond))
				}
			}
		}
	}
	return parts
}
