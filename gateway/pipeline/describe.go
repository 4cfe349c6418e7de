package pipeline

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

// Add adds the URLs to an API. Of a nil Service they are described, and answer that there
// are no pipelines.
func (s *Service) Add(set *operation.Set) {
	all := operations()
	for i := range all {
		op := &all[i]
		set.Serve(op.describe(set), &operation.Endpoint{
			Method: op.method, Pattern: op.path, Stream: op.stream, Operation: cmp.Or(op.as, op.path),
			Serve: func(c *call.Call, w http.ResponseWriter, r *http.Request) error { return s.serve(op, c, w, r) },
		})
	}
}

// describe is an operation's part of the OpenAPI document.
func (op *operationOf) describe(set *operation.Set) *huma.Operation {
	o := &huma.Operation{
		Method: op.method, Path: op.path, OperationID: op.id, Summary: op.summary, Tags: []string{op.tagged()}, Extensions: map[string]any{},
		Security: needs(op),
	}
	codes := slices.Concat(op.codes, []problem.Code{problem.InvalidArgument, problem.PermissionDenied, problem.Unimplemented, problem.BadGateway})
	for rest := op.path; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		var name string
		name, rest, _ = strings.Cut(after, "}")
		if name == "name" && strings.HasPrefix(op.path, contract.SchedulesPath) {
			name = "schedule"
		}
		if name == "id" && strings.HasPrefix(op.path, contract.DeadLettersPath) {
			name = "letter"
		}
		o.Parameters = append(o.Parameters, parameter("path:"+name))
	}
	for _, name := range op.params {
		o.Parameters = append(o.Parameters, parameter(name))
	}
	if op.body {
		codes = append(codes, operation.BodyCodes()...)
		o.RequestBody = op.request()
	}
	if op.audit != "" {
		o.Extensions["x-audit-action"] = op.audit
	}
	o.Responses = set.Problems(codes...)
	for status, answer := range op.answers(set) {
		o.Responses[strconv.Itoa(status)] = answer
	}
	return o
}

func (op *operationOf) tagged() string {
	switch {
	case op.tag != "":
		return op.tag
	case strings.HasPrefix(op.path, contract.PipelinesPath):
		return "pipelines"
	case strings.HasPrefix(op.path, contract.DeadLettersPath):
		return "dead letters"
	case strings.HasPrefix(op.path, contract.SchedulesPath):
		return "schedules"
	default:
		return "executions"
	}
}

// needs are the permissions of an operation, of which any suffices; of a start what
// stands for the pipeline's own.
func needs(op *operationOf) []map[string][]string {
	var permissions []string
	for _, p := range (auth.Action{Verb: op.needs, On: "{name}"}).Permissions() {
		permissions = append(permissions, string(p))
	}
	return []map[string][]string{{"bearer": permissions}, {"apiKey": permissions}}
}

func (op *operationOf) request() *huma.RequestBody {
	text := &huma.Schema{Type: huma.TypeString}
	if op.id == createSchedule {
		content := operation.JSON(&huma.Schema{Type: huma.TypeObject, Description: "a schedule: name, pipeline and cron, and what pipelines/schedule/schema.json of its sources has besides"})
		content["application/yaml"] = &huma.MediaType{Schema: text}
		return &huma.RequestBody{Required: true, Content: content}
	}
	if op.id == registerPipeline {
		content := operation.JSON(&huma.Schema{Type: huma.TypeObject, Description: "a definition, as pipelines/definition/schema.json of its sources has it"})
		content["application/yaml"] = &huma.MediaType{Schema: text}
		return &huma.RequestBody{Required: true, Content: content}
	}
	content := operation.JSON(&huma.Schema{Description: "the input"})
	content["*/*"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "stored; the input is {\"ref\", \"content_type\", \"size\"}"}}
	return &huma.RequestBody{Content: content}
}

// answers are those of success, by status.
func (op *operationOf) answers(set *operation.Set) map[int]*huma.Response {
	r := &huma.Response{Description: op.summary}
	if op.locations {
		r.Headers = map[string]*huma.Header{"Location": {Description: "where it is shown", Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	if op.answer != nil {
		r.Content = operation.JSON(set.Schemas().Schema(op.answer, true, op.id+"Answer"))
	}
	switch op.id {
	case "watchExecution":
		event := set.Schemas().Schema(typeOfEvent(), true, op.id+"Answer")
		line := func(description string) *huma.Schema {
			return &huma.Schema{Type: huma.TypeString, Description: description}
		}
		r.Content = map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Type: huma.TypeObject, Description: "one event of the stream, which has a comment every 15 s", Required: []string{"id", "event", "data"},
			Properties: map[string]*huma.Schema{
				"id": line("for Last-Event-ID"), "event": line("the CloudEvent's type"),
				"data": line("the CloudEvent as JSON (" + strings.TrimPrefix(event.Ref, "#/components/schemas/") + "), on one line"),
			},
		}}}
	case "getExecutionResult":
		r.Content = map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Description: "the output"}}}
		later := &huma.Response{Description: "it has not ended; Retry-After says when to ask again", Headers: map[string]*huma.Header{
			"Retry-After": {Description: "seconds", Schema: &huma.Schema{Type: huma.TypeInteger}},
		}}
		return map[int]*huma.Response{http.StatusOK: r, http.StatusAccepted: later}
	}
	if len(op.statuses) == 0 {
		return map[int]*huma.Response{http.StatusOK: r}
	}
	answers := map[int]*huma.Response{}
	for _, status := range op.statuses {
		answers[status] = r
	}
	return answers
}
