package control

import (
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// v2Operation is one URL of the Open Inference Protocol. Those of a model exist
// with a version and without.
type v2Operation struct {
	method, path, id string
	model            bool // path is below that of a model
	summary          string
	params           []*huma.Param
	body             *huma.RequestBody
	answer           *huma.Response // its description is summary where it has none
	later            *huma.Response // 202; nil is none
	codes            []problem.Code
}

// describeV2 puts V2's REST form into the document. Package gateway serves it.
func describeV2(set *operation.Set, components *huma.Components) {
	components.Parameters = inferenceParameters()
	for name, schema := range inferenceSchemas() {
		components.Schemas.Map()[name] = schema
	}
	for _, op := range v2Operations() {
		if !op.model {
			set.Describe(op.operation(set, "", ""), nil)
			continue
		}
		set.Describe(op.operation(set, "/v2/models/{model}", ""), nil)
		set.Describe(op.operation(set, "/v2/models/{model}/versions/{version}", "Version"), nil)
	}
}

func (op *v2Operation) operation(set *operation.Set, below, suffix string) *huma.Operation {
	var params []*huma.Param
	if op.model {
		params = append(params, parameter("model"))
	}
	if suffix != "" {
		params = append(params, parameter("version"))
	}
	params = append(params, op.params...)
	codes := slices.Concat(op.codes, []problem.Code{problem.InvalidArgument, problem.PermissionDenied})
	if op.body != nil {
		codes = append(codes, operation.BodyCodes()...)
	}
	answer := *op.answer
	if answer.Description == "" {
		answer.Description = op.summary
	}
	o := &huma.Operation{
		Method: op.method, Path: below + op.path, OperationID: op.id + suffix, Summary: op.summary, Tags: []string{"V2"},
		Parameters: params, RequestBody: op.body, Responses: set.V2Problems(codes...),
	}
	o.Responses["200"] = &answer
	if op.later != nil {
		o.Responses["202"] = op.later
	}
	return o
}

// v2Operations are V2's URLs.
func v2Operations() []v2Operation {
	get, post := http.MethodGet, http.MethodPost
	anyObject := answers(&huma.Schema{Type: huma.TypeObject})
	index := answers(listOf(indexRow()))
	// Of those that ask of a model, which a caller's limits may refuse.
	modelCodes := []problem.Code{problem.ModelNotFound, problem.Overloaded}
	// Of those that ask functions, which may answer, break off or not be there.
	countCodes := []problem.Code{problem.Overloaded, problem.ModelUnavailable, problem.BadGateway}
	functionCodes := append(slices.Clone(countCodes), problem.ModelNotFound)
	inferCodes := append(slices.Clone(functionCodes), problem.ModelFailed, problem.Unimplemented)
	return []v2Operation{
		{method: get, path: "/v2", id: "serverMetadata", summary: "The server and its extensions", answer: answers(serverMetadata())},
		{method: get, path: "/v2/health/live", id: "serverLive", summary: "The server is alive", answer: anyObject},
		{method: get, path: "/v2/health/ready", id: "serverReady", summary: "The server takes requests", answer: anyObject},
		{method: get, path: "/v2/models/stats", id: "allStatistics", summary: "Statistics of every model that is in memory", answer: anyObject, codes: countCodes},
		{method: get, path: "/v2/repository/index", id: "getIndex", summary: "Every published version", answer: index},
		{method: post, path: "/v2/repository/index", id: "index", summary: "Every published version", body: optional(indexRequest()), answer: index},
		{
			method: post, path: "/v2/repository/models/{model}/load", id: "load", summary: "Load the versions that calls without one may get",
			params: []*huma.Param{parameter("model")}, body: optional(loadRequest()), codes: functionCodes,
			answer: &huma.Response{Description: "They are loaded", Content: anyObject.Content},
		},
		{
			method: post, path: "/v2/repository/models/{model}/unload", id: "unload", summary: "Free a model's memory now",
			params: []*huma.Param{parameter("model")}, body: optional(unloadRequest()), answer: anyObject, codes: functionCodes,
		},
		{model: true, method: get, id: "modelMetadata", summary: "A model's inputs and outputs", answer: answers(ref("ModelMetadata")), codes: modelCodes},
		{
			model: true, method: get, path: "/ready", id: "modelReady", summary: "Whether a call would be answered; wakes nothing",
			answer: anyObject, codes: functionCodes,
		},
		{model: true, method: get, path: "/config", id: "modelConfig", summary: "The model's configuration in Triton's form", answer: anyObject, codes: functionCodes},
		{model: true, method: get, path: "/stats", id: "modelStatistics", summary: "Statistics in Triton's form; wakes nothing", answer: anyObject, codes: functionCodes},
		{
			model: true, method: post, path: "/infer", id: "infer", summary: "Run the model",
			params: []*huma.Param{parameter("modelVersion"), headerLength(), preference()}, body: inferenceBody(), answer: inferenceAnswer(), later: later(),
			codes: append(inferCodes, problem.KeyReused),
		},
	}
}

func parameter(name string) *huma.Param { return &huma.Param{Ref: "#/components/parameters/" + name} }

func answers(schema *huma.Schema) *huma.Response {
	return &huma.Response{Content: operation.JSON(schema)}
}

func optional(schema *huma.Schema) *huma.RequestBody {
	return &huma.RequestBody{Content: operation.JSON(schema)}
}

// versionPattern is what infer.CheckVersion takes: a number of at most 2^31-1, or
// an alias, which has a letter or a hyphen in it.
const versionPattern = `^([1-9][0-9]{0,8}|1[0-9]{9}|20[0-9]{8}|21[0-3][0-9]{7}|214[0-6][0-9]{6}|2147[0-3][0-9]{5}|21474[0-7][0-9]{4}|` +
	`214748[0-2][0-9]{3}|2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7]|[0-9]*[a-z]([a-z0-9-]*[a-z0-9])?|[0-9]+-[a-z0-9-]*[a-z0-9])$`

const labelPattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

func inferenceParameters() map[string]*huma.Param {
	version := func() *huma.Schema {
		most := 63
		return &huma.Schema{Type: huma.TypeString, MaxLength: &most, Pattern: versionPattern}
	}
	return map[string]*huma.Param{
		"model": {Name: "model", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString, Pattern: labelPattern}},
		"version": {
			Name: "version", In: "path", Required: true, Schema: version(),
			Description: "a number, or an alias: latest, the newest; stable and others as `modelserve models alias` set them",
		},
		"modelVersion": {
			Name: infer.VersionHeader, In: "header", Schema: version(),
			Description: "the version that an inference is for, a number or an alias, where the URL names none; beside one in the URL it must be the same",
		},
	}
}

func headerLength() *huma.Param {
	least, most := 0.0, 2147483647.0
	return &huma.Param{
		Name: infer.JSONLengthHeader, In: "header", Description: "bytes of JSON before the binary tensors",
		Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most},
	}
}

func preference() *huma.Param {
	return &huma.Param{
		Name: contract.PreferHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "respond-async: the answer is an execution, and GET /v1/executions/{id}/result has what the call itself would have had",
	}
}

func later() *huma.Response {
	return &huma.Response{
		Description: "It is answered later", Content: operation.JSON(ref("Execution")),
		Headers: map[string]*huma.Header{
			"Location":                       {Description: "the execution", Schema: &huma.Schema{Type: huma.TypeString}},
			contract.PreferenceAppliedHeader: {Description: "respond-async", Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}
}

func inferenceBody() *huma.RequestBody {
	content := operation.JSON(ref("InferenceRequest"))
	content["application/octet-stream"] = &huma.MediaType{Schema: &huma.Schema{
		Type: huma.TypeString, Format: "binary",
		Description: "a request in JSON, of which tensors may have parameters.binary_data_size and no data, and behind it theirs; " +
			infer.JSONLengthHeader + " says where they begin",
	}}
	return &huma.RequestBody{Required: true, Content: content}
}

func inferenceAnswer() *huma.Response {
	content := operation.JSON(&huma.Schema{Type: huma.TypeObject})
	content["application/octet-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	headers := map[string]*huma.Header{}
	for name, text := range map[string]string{
		infer.ModelHeader:  "name@version;digest=sha256:…",
		infer.AliasHeader:  "the alias that decided on the version; absent when none did",
		infer.TimingHeader: "where the time went",
	} {
		headers[name] = &huma.Header{Description: text, Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return &huma.Response{Content: content, Headers: headers}
}
