package control

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/control/operation"
)

// openAPI is what the document has of the whole API.
func openAPI() *huma.OpenAPI {
	problem := texts("type", "title", "detail", "code", "request_id", "limit")
	problem.Properties["type"].Format = "uri"
	problem.Properties["status"] = &huma.Schema{Type: huma.TypeInteger}
	problem.Required = []string{"type", "title", "status", "detail", "code", "request_id"}
	v2 := texts("error", "code", "request_id", "limit")
	v2.Required = []string{"error", "code", "request_id"}
	for _, s := range []*huma.Schema{problem, v2} {
		s.Properties["errors"] = listOf(texts("field", "detail"))
	}
	components := &huma.Components{
		Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
		SecuritySchemes: map[string]*huma.SecurityScheme{
			"bearer": {Type: "http", Scheme: "bearer", Description: "a key, ms_<id>_<secret>"},
			"apiKey": {Type: "apiKey", In: "header", Name: "X-API-Key"},
		},
		Responses: map[string]*huma.Response{
			"Problem": {
				Description: "an error (RFC 9457)",
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: ref("Problem")}},
			},
			"V2Error": {Description: "an error as V2's clients expect it", Content: operation.JSON(ref("V2Error"))},
		},
	}
	components.Schemas.Map()["Problem"], components.Schemas.Map()["V2Error"] = problem, v2
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "ModelServe gateway", Version: "v1",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			Description: "The control API and the Open Inference Protocol V2. Every function also answers by its own host: POST / with its native payload " +
				"or a CloudEvent, and the URLs below /v2. The same port serves gRPC: inference.GRPCInferenceService.",
		},
		Components: components,
		Security:   []map[string][]string{{"bearer": {}}, {"apiKey": {}}},
	}
}

// texts is an object that has to have some fields, which are strings.
func texts(names ...string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Required: names, Properties: map[string]*huma.Schema{}}
	for _, name := range names {
		s.Properties[name] = &huma.Schema{Type: huma.TypeString}
	}
	return s
}

func listOf(items *huma.Schema) *huma.Schema { return &huma.Schema{Type: huma.TypeArray, Items: items} }

func ref(name string) *huma.Schema { return &huma.Schema{Ref: "#/components/schemas/" + name} }
