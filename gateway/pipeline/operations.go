package pipeline

import (
	"net/http"
	"reflect"
	"slices"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// operationOf is one URL of the service's.
type operationOf struct {
	method, path string
	as           string // the path that limits know it by; "" is its own
	id, summary  string
	tag          string

	needs auth.Verb // of DoRun, on the pipeline in the path
	audit string    // the action's name in the audit log; "" where nothing changes
	kind  string    // of what it is done to, in the audit log

	body   bool // it takes one
	stream bool // it answers until the execution ends
	params []string
	codes  []problem.Code

	answer    reflect.Type // nil is none
	statuses  []int        // of success
	locations bool         // it answers with a Location
}

// The operations whose bodies the gateway reads.
const (
	registerPipeline = "registerPipeline"
	createSchedule   = "createSchedule"
)

// operations are all of them.
func operations() []operationOf {
	return slices.Concat(pipelines(), starts(), executions(), deadLetters(), schedules())
}

const (
	get    = http.MethodGet
	post   = http.MethodPost
	remove = http.MethodDelete
)

func pipelines() []operationOf {
	one, list := reflect.TypeFor[contract.Pipeline](), reflect.TypeFor[contract.Pipelines]()
	missing := []problem.Code{problem.NotFound}
	return []operationOf{
		{
			method: get, path: contract.PipelinesPath, id: "listPipelines", summary: "List pipelines, newest first, the default version of each",
			needs: auth.DoReadPipelines, params: []string{"limit", "cursor"}, answer: list,
		},
		{
			method: post, path: contract.PipelinesPath, id: registerPipeline,
			summary: "Register a definition, YAML or JSON: 201 with its version, or 200 with the one that the same definition has. It is the default from then on. Needs infer on each function",
			needs:   auth.DoWritePipelines, audit: "pipeline.apply", kind: "pipeline", body: true,
			codes: []problem.Code{problem.Conflict, problem.Overloaded}, answer: one, statuses: []int{http.StatusCreated, http.StatusOK}, locations: true,
		},
		{
			method: get, path: contract.PipelinePath, id: "getPipeline", summary: "Show a pipeline's default version",
			needs: auth.DoReadPipelines, codes: missing, answer: one,
		},
		{
			method: remove, path: contract.PipelinePath, id: "deletePipeline", summary: "Delete a pipeline with its versions; refused while executions of it have not ended",
			needs: auth.DoWritePipelines, audit: "pipeline.delete", kind: "pipeline", codes: []problem.Code{problem.NotFound, problem.Conflict}, statuses: []int{http.StatusNoContent},
		},
		{
			method: get, path: contract.VersionsPath, id: "listPipelineVersions", summary: "List a pipeline's versions, newest first",
			needs: auth.DoReadPipelines, params: []string{"limit", "cursor"}, codes: missing, answer: list,
		},
		{
			method: get, path: contract.VersionPath, as: contract.PipelinePath, id: "getPipelineVersion", summary: "Show a version of a pipeline",
			needs: auth.DoReadPipelines, codes: missing, answer: one,
		},
		{
			method: post, path: contract.DeprecatePath, id: "deprecatePipelineVersion", summary: "Deprecate a version: no execution of it is started until it is registered again",
			needs: auth.DoWritePipelines, audit: "pipeline.deprecate", kind: "pipeline", codes: []problem.Code{problem.NotFound, problem.Conflict}, answer: one,
		},
	}
}

func starts() []operationOf {
	var all []operationOf
	for _, at := range []struct{ path, id, summary string }{
		{contract.StartPath, "startExecution", "Start an execution of a pipeline's default version"},
		{contract.StartVersionPath, "startExecutionVersion", "Start an execution of a version of a pipeline"},
	} {
		all = append(all, operationOf{
			method: post, path: at.path, as: contract.StartPath, id: at.id, tag: "executions",
			summary: at.summary + ": 202, or 200 where it ended within Prefer: wait=N. A body of JSON is the input; of any other type it is stored, and the input is its ref",
			needs:   auth.DoRun, body: true, params: []string{"priority", "run_at", "label", "idempotencyKey", "prefer"},
			codes:  []problem.Code{problem.NotFound, problem.Conflict, problem.KeyReused, problem.Overloaded},
			answer: reflect.TypeFor[contract.Execution](), statuses: []int{http.StatusAccepted, http.StatusOK}, locations: true,
		})
	}
	return all
}

func executions() []operationOf {
	one := reflect.TypeFor[contract.Execution]()
	missing := []problem.Code{problem.NotFound}
	return []operationOf{
		{
			method: get, path: contract.ExecutionsPath, id: "listExecutions", summary: "List executions, newest first, without their inputs and outputs",
			needs: auth.DoReadExecutions, params: []string{"pipeline", "status", "label", "limit", "cursor"}, answer: reflect.TypeFor[contract.Executions](),
		},
		{
			method: get, path: contract.ExecutionPath, id: "getExecution", summary: "Show an execution",
			needs: auth.DoReadExecutions, codes: missing, answer: one,
		},
		{
			method: remove, path: contract.ExecutionPath, id: "deleteExecution", summary: "Erase the payloads of an execution that has ended; a stub stays",
			needs: auth.DoWriteExecutions, audit: "execution.delete", kind: "execution", codes: []problem.Code{problem.NotFound, problem.Conflict}, statuses: []int{http.StatusNoContent},
		},
		{
			method: get, path: contract.EventsPath, id: "watchExecution", stream: true,
			summary: "The events of an execution from the first on, or after Last-Event-ID, as server-sent events; the stream ends after the event that ends the execution",
			needs:   auth.DoReadExecutions, params: []string{"lastEventID"}, codes: []problem.Code{problem.NotFound, problem.Overloaded},
		},
		{
			method: get, path: contract.ResultPath, id: "getExecutionResult",
			summary: "The output alone, as it is stored; of a call that is answered later what the call itself would have had; 202 before there is one",
			needs:   auth.DoReadExecutions, codes: []problem.Code{problem.NotFound, problem.Conflict},
		},
		{
			method: post, path: contract.CancelPath, id: "cancelExecution", summary: "Cancel an execution: final at once. One that has ended stays as it is, and is answered",
			needs: auth.DoWriteExecutions, audit: "execution.cancel", kind: "execution", codes: missing, answer: one,
		},
		{
			method: post, path: contract.ReplayPath, id: "replayExecution", summary: "Start a new execution with the input of one that has ended, or from a step on with the outputs before it as recorded. A body is the input in its place, as that of a start",
			needs: auth.DoWriteExecutions, audit: "execution.replay", kind: "execution", body: true, params: []string{"from", "version"},
			codes: []problem.Code{problem.NotFound, problem.Conflict, problem.Overloaded}, answer: one, statuses: []int{http.StatusAccepted}, locations: true,
		},
	}
}

func deadLetters() []operationOf {
	one, list := reflect.TypeFor[contract.DeadLetter](), reflect.TypeFor[contract.DeadLetters]()
	filter := []string{"pipeline", "step", "execution", "limit"}
	return []operationOf{
		{
			method: get, path: contract.DeadLettersPath, id: "listDeadLetters", summary: "List dead letters, newest first",
			needs: auth.DoReadExecutions, params: append([]string{"replayed", "cursor"}, filter...), answer: list,
		},
		{
			method: get, path: contract.DeadLetterPath, id: "getDeadLetter", summary: "Show a dead letter",
			needs: auth.DoReadExecutions, codes: []problem.Code{problem.NotFound}, answer: one,
		},
		{
			method: post, path: contract.DeadLetterReplayPath, id: "replayDeadLetter", summary: "Start a new execution from the step that failed, or another, with the outputs before it as recorded. A body is the execution's input from then on, as that of a start",
			needs: auth.DoWriteExecutions, audit: "dead-letter.replay", kind: "dead-letter", body: true, params: []string{"from", "version"},
			codes:  []problem.Code{problem.NotFound, problem.Conflict, problem.Overloaded},
			answer: reflect.TypeFor[contract.Execution](), statuses: []int{http.StatusAccepted}, locations: true,
		},
		{
			method: post, path: contract.DeadLettersReplayPath, id: "replayDeadLetters", summary: "Replay the dead letters that a filter fits and that were not replayed yet, newest first; one execution of several is replayed once",
			needs: auth.DoWriteExecutions, audit: "dead-letter.replay", kind: "dead-letters", params: append([]string{"version", "cursor"}, filter...),
			codes: []problem.Code{problem.Overloaded}, answer: reflect.TypeFor[contract.Replays](),
		},
	}
}

func schedules() []operationOf {
	one := reflect.TypeFor[contract.Schedule]()
	missing := []problem.Code{problem.NotFound}
	return []operationOf{
		{
			method: get, path: contract.SchedulesPath, id: "listSchedules", summary: "List schedules, newest first",
			needs: auth.DoSchedules, params: []string{"limit", "cursor"}, answer: reflect.TypeFor[contract.Schedules](),
		},
		{
			method: post, path: contract.SchedulesPath, id: createSchedule,
			summary: "Make a schedule, JSON or YAML: a pipeline starts at the times of a cron line, in a time zone. Needs run on the pipeline",
			needs:   auth.DoSchedules, audit: "schedule.create", kind: "schedule", body: true,
			codes: []problem.Code{problem.Conflict}, answer: one, statuses: []int{http.StatusCreated}, locations: true,
		},
		{
			method: get, path: contract.SchedulePath, id: "getSchedule", summary: "Show a schedule: when it starts next, and what it started last",
			needs: auth.DoSchedules, codes: missing, answer: one,
		},
		{
			method: remove, path: contract.SchedulePath, id: "deleteSchedule", summary: "Delete a schedule; what it started goes on",
			needs: auth.DoSchedules, audit: "schedule.delete", kind: "schedule", codes: missing, statuses: []int{http.StatusNoContent},
		},
		{
			method: post, path: contract.SchedulePausePath, id: "pauseSchedule", summary: "Pause a schedule: times that come meanwhile are left out",
			needs: auth.DoSchedules, audit: "schedule.pause", kind: "schedule", codes: missing, answer: one,
		},
		{
			method: post, path: contract.ScheduleResumePath, id: "resumeSchedule", summary: "Have a schedule go on, with the times that come from now on",
			needs: auth.DoSchedules, audit: "schedule.resume", kind: "schedule", codes: missing, answer: one,
		},
		{
			method: post, path: contract.ScheduleRunPath, id: "runSchedule", summary: "Start an execution of a schedule now; its times stay as they are",
			needs: auth.DoSchedules, audit: "schedule.run", kind: "schedule",
			codes:  []problem.Code{problem.NotFound, problem.Conflict, problem.Overloaded},
			answer: reflect.TypeFor[contract.Execution](), statuses: []int{http.StatusAccepted}, locations: true,
		},
	}
}
