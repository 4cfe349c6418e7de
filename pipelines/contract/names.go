package contract

import (
	"net/url"
	"strconv"
)

// The URLs, as patterns of http.ServeMux without the method.
const (
	PipelinesPath         = "/v1/pipelines"                                      // GET, POST
	PipelinePath          = "/v1/pipelines/{name}"                               // GET, DELETE
	VersionsPath          = "/v1/pipelines/{name}/versions"                      // GET
	VersionPath           = "/v1/pipelines/{name}/versions/{version}"            // GET
	DeprecatePath         = "/v1/pipelines/{name}/versions/{version}/deprecate"  // POST
	StartPath             = "/v1/pipelines/{name}/executions"                    // POST
	StartVersionPath      = "/v1/pipelines/{name}/versions/{version}/executions" // POST
	ExecutionsPath        = "/v1/executions"                                     // GET
	ExecutionPath         = "/v1/executions/{id}"                                // GET, DELETE
	EventsPath            = "/v1/executions/{id}/events"                         // GET
	ResultPath            = "/v1/executions/{id}/result"                         // GET
	CancelPath            = "/v1/executions/{id}/cancel"                         // POST
	ReplayPath            = "/v1/executions/{id}/replay"                         // POST
	DeadLettersPath       = "/v1/dead-letters"                                   // GET
	DeadLetterPath        = "/v1/dead-letters/{id}"                              // GET
	DeadLetterReplayPath  = "/v1/dead-letters/{id}/replay"                       // POST
	DeadLettersReplayPath = "/v1/dead-letters/replay"                            // POST
	SchedulesPath         = "/v1/schedules"                                      // GET, POST
	SchedulePath          = "/v1/schedules/{name}"                               // GET, DELETE
	SchedulePausePath     = "/v1/schedules/{name}/pause"                         // POST
	ScheduleResumePath    = "/v1/schedules/{name}/resume"                        // POST
	ScheduleRunPath       = "/v1/schedules/{name}/run"                           // POST
)

// CallsPath is where the gateway sends a call that is answered later. It is no URL of the
// platform: nobody else comes to it.
const CallsPath = "/v1/calls" // POST

// The query parameters.
const (
	ParamLimit     = "limit"     // 1 to MaxLimit; DefaultLimit where it is left out
	ParamCursor    = "cursor"    // next_cursor of the page before
	ParamPipeline  = "pipeline"  // a name
	ParamStatus    = "status"    // a Status
	ParamLabel     = "label"     // KEY=VALUE; several are all of them
	ParamPriority  = "priority"  // -10 to 10
	ParamRunAt     = "run_at"    // RFC 3339, or a time from now such as 10m
	ParamFrom      = "from"      // a step
	ParamVersion   = "version"   // of the pipeline, a number
	ParamStep      = "step"      // of dead letters
	ParamReplayed  = "replayed"  // of dead letters: true or false
	ParamExecution = "execution" // of dead letters: an id
)

// Bounds of pages.
const (
	MaxLimit     = 200
	DefaultLimit = 50
)

// The headers of requests and answers.
const (
	IdempotencyKeyHeader    = "Idempotency-Key"    // 1 to MaxIdempotencyKey visible characters
	PreferHeader            = "Prefer"             // wait=N and respond-async (RFC 7240)
	PreferenceAppliedHeader = "Preference-Applied" // which of them was heeded
	LastEventIDHeader       = "Last-Event-ID"      // of an event stream that goes on

	// CallHeader is what is to be called, between the gateway and the pipelines service.
	CallHeader = "Modelserve-Call"
)

// Bounds of headers.
const (
	MaxIdempotencyKey = 255 // bytes
	MaxWaitSeconds    = 300 // of Prefer: wait=N; more is as much
)

// PathOf is the path of a pattern with its values in the order in which the pattern has
// them, escaped: PathOf(VersionPath, "read-document", "3").
func PathOf(pattern string, values ...string) string {
	path, next := make([]byte, 0, len(pattern)+32), 0
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '{' || next == len(values) {
			path = append(path, pattern[i])
			continue
		}
		path = append(path, url.PathEscape(values[next])...)
		next++
		for pattern[i] != '}' {
			i++
		}
	}
	return string(path)
}

// StartPathOf is where executions of a version are started; 0 is the default one.
func StartPathOf(name string, version int) string {
	if version == 0 {
		return PathOf(StartPath, name)
	}
	return PathOf(StartVersionPath, name, strconv.Itoa(version))
}
