package control

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The schemas of V2 are written here, not made of types: its requests are read by
// package infer, token by token. A test holds the two to each other.

// keywords are those of JSON Schema that huma's type has no field for.
type keywords = map[string]any

// orNull is a schema of a type, or null, which stands for what may be left out.
func orNull(typ string) *huma.Schema { return &huma.Schema{Type: typ, Nullable: true} }

// The greatest numbers: exactly, which a float64 is not.
const (
	maxInt64 = json.Number("9223372036854775807")
	maxFloat = json.Number("1.7976931348623157e+308")
	minFloat = json.Number("-1.7976931348623157e+308")
)

// count is a whole number from 0 on, or null.
func count(text string) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeInteger, Nullable: true, Description: text,
		Extensions: keywords{"minimum": 0, "maximum": maxInt64},
	}
}

// parameters are an object of V2's parameters, or null: the given ones, and any
// others of the types that there are.
func parameters(known map[string]*huma.Schema) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true, Properties: known,
		AdditionalProperties: &huma.Schema{Extensions: keywords{
			"type": []string{"boolean", "number", "string", "null"}, "minimum": minFloat, "maximum": maxFloat,
		}},
	}
}

// withoutMemory adds that tensors do not lie in shared memory.
func withoutMemory(s *huma.Schema) *huma.Schema {
	s.Extensions = keywords{"patternProperties": map[string]*huma.Schema{
		"^shared_memory_": {Type: "null", Description: "of the shared memory extension, which is not supported"},
	}}
	return s
}

// closed is an object with the given fields and no others, or null.
func closed(fields map[string]*huma.Schema) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: false, Properties: fields}
}

func indexRequest() *huma.Schema {
	return closed(map[string]*huma.Schema{"ready": orNull(huma.TypeBoolean)})
}

func loadRequest() *huma.Schema {
	return closed(map[string]*huma.Schema{"parameters": {
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: &huma.Schema{Type: "null"},
		Description: "none is supported: a published version is loaded as it is",
	}})
}

func unloadRequest() *huma.Schema {
	dependents := orNull(huma.TypeBoolean)
	dependents.Description = "means nothing: no model has any"
	return closed(map[string]*huma.Schema{"parameters": parameters(map[string]*huma.Schema{"unload_dependents": dependents})})
}

func serverMetadata() *huma.Schema {
	s := texts("name", "version")
	s.Required = append(s.Required, "extensions")
	s.Properties["extensions"] = listOf(&huma.Schema{Type: huma.TypeString})
	return s
}

func indexRow() *huma.Schema {
	s := texts("name", "version", "state")
	s.Properties["state"] = &huma.Schema{Enum: []any{"READY", "UNAVAILABLE"}}
	s.Properties["reason"] = &huma.Schema{Type: huma.TypeString}
	return s
}

func modelMetadata() *huma.Schema {
	tensor := texts("name", "datatype")
	tensor.Required = append(tensor.Required, "shape")
	tensor.Properties["shape"] = listOf(&huma.Schema{Type: huma.TypeInteger})
	s := texts("name", "platform")
	s.Required = append(s.Required, "versions", "inputs", "outputs")
	s.Properties["name"].Pattern = labelPattern
	s.Properties["versions"] = listOf(&huma.Schema{Type: huma.TypeString})
	s.Properties["inputs"], s.Properties["outputs"] = listOf(tensor), listOf(tensor)
	s.Properties["parameters"] = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}
	return s
}

// elements is a kind of V2's data: the elements in lists as deep as the shape.
type elements struct {
	name  string // of the schema
	text  string
	item  *huma.Schema
	types []any // datatypes
}

func allElements() []elements {
	number := &huma.Schema{Type: huma.TypeNumber}
	return []elements{
		{"InferenceBooleans", "elements of BOOL, flat or nested as the shape", &huma.Schema{Type: huma.TypeBoolean}, []any{infer.Bool}},
		{"InferenceStrings", "elements of BYTES, flat or nested as the shape", &huma.Schema{Type: huma.TypeString}, []any{infer.Bytes}},
		{
			"InferenceIntegers",
			"elements of an INT or UINT type, within its range and written without a fraction or exponent, flat or nested as the shape",
			number,
			[]any{infer.Uint8, infer.Uint16, infer.Uint32, infer.Uint64, infer.Int8, infer.Int16, infer.Int32, infer.Int64},
		},
		{
			"InferenceFloats",
			"elements of FP16, BF16, FP32 or FP64, within its range, flat or nested as the shape; the strings stand for what JSON has no number for",
			&huma.Schema{AnyOf: []*huma.Schema{number, {Enum: []any{"NaN", "Infinity", "-Infinity"}}}},
			[]any{infer.FP16, infer.BF16, infer.FP32, infer.FP64},
		},
	}
}

func inferenceSchemas() map[string]*huma.Schema {
	schemas := map[string]*huma.Schema{
		"ModelMetadata":    modelMetadata(),
		"InferenceRequest": inferenceRequest(),
		"InferenceTensor":  inferenceTensor(),
	}
	for _, e := range allElements() {
		schemas[e.name] = &huma.Schema{Type: huma.TypeArray, Description: e.text, Items: &huma.Schema{AnyOf: []*huma.Schema{e.item, ref(e.name)}}}
	}
	return schemas
}

func inferenceRequest() *huma.Schema {
	maxTensors := 1024
	inputs, outputs := listOf(ref("InferenceTensor")), listOf(inferenceOutput())
	inputs.MaxItems, outputs.MaxItems, outputs.Nullable = &maxTensors, &maxTensors, true
	return &huma.Schema{
		Type: huma.TypeObject,
		Description: "Null stands for what may be left out. Members that the protocol does not know are skipped. " +
			"An integer is one by its value: 1.0 and 1e0 are 1.",
		Properties: map[string]*huma.Schema{
			"id": orNull(huma.TypeString),
			"parameters": parameters(map[string]*huma.Schema{
				"timeout": count("microseconds"), "priority": count(""), "binary_data_output": orNull(huma.TypeBoolean),
			}),
			"inputs":  inputs,
			"outputs": outputs,
		},
	}
}

func inferenceOutput() *huma.Schema {
	s := texts("name")
	s.Properties["parameters"] = withoutMemory(parameters(map[string]*huma.Schema{
		"binary_data": orNull(huma.TypeBoolean),
		"classification": {
			Type: huma.TypeInteger, Nullable: true, Description: "of the classification extension, which is not supported",
			Extensions: keywords{"minimum": 0, "maximum": 0},
		},
	}))
	return s
}

func inferenceTensor() *huma.Schema {
	one, maxAxes := 1, 64
	shape := listOf(&huma.Schema{Type: huma.TypeInteger, Extensions: keywords{"minimum": 0, "maximum": maxInt64}})
	shape.MaxItems, shape.Description = &maxAxes, "the product of the sizes, which is the number of elements, is below 2^63"
	var datatypes []any
	var byType []*huma.Schema
	for _, e := range allElements() {
		datatypes = append(datatypes, e.types...)
		byType = append(byType, &huma.Schema{Extensions: keywords{
			"if":   keywords{"properties": keywords{"datatype": keywords{"enum": e.types}}},
			"then": keywords{"properties": keywords{"data": ref(e.name)}},
		}})
	}
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"name", "datatype", "shape", "data"},
		Properties: map[string]*huma.Schema{
			"name":     {Type: huma.TypeString, MinLength: &one},
			"datatype": {Enum: datatypes},
			"shape":    shape,
			"parameters": withoutMemory(parameters(map[string]*huma.Schema{
				"binary_data_size": {
					Type:        "null",
					Description: "of tensors in the binary section, where the body is application/octet-stream: those have no data here",
				},
			})),
			"data": {Type: huma.TypeArray, Description: "as many elements as the shape says, of the datatype"},
		},
		AllOf: byType,
	}
}
