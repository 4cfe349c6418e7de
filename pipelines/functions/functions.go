// Package functions is what pipelines know of the functions that are shipped, and of
// published models: the JSON that each takes and answers, as JSON Schemas.
//
// It links no codec and calls nothing: the schemas are files beside the functions,
// held to the codecs by a test here.
package functions

import (
	"encoding/json"
	"fmt"
	"slices"

	contentdetect "github.com/modelserveai/modelserve/functions/content-detect/schema"
	speechdetect "github.com/modelserveai/modelserve/functions/speech-detect/schema"
	textdetect "github.com/modelserveai/modelserve/functions/text-detect/schema"
	textorient "github.com/modelserveai/modelserve/functions/text-orient/schema"
	textrecognize "github.com/modelserveai/modelserve/functions/text-recognize/schema"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Shipped is a function that is shipped with a native payload.
func Shipped(name string) (definition.Function, bool) {
	switch name {
	case "content-detect":
		return definition.Function{Input: contentdetect.Input(), Output: contentdetect.Output()}, true
	case "speech-detect":
		return definition.Function{Input: speechdetect.Input(), Output: speechdetect.Output()}, true
	case "text-detect":
		return definition.Function{Input: textdetect.Input(), Output: textdetect.Output()}, true
	case "text-orient":
		return definition.Function{Input: textorient.Input(), Output: textorient.Output()}, true
	case "text-recognize":
		return definition.Function{Input: textrecognize.Input(), Output: textrecognize.Output()}, true
	default:
		return definition.Function{}, false
	}
}

// Names are the shipped functions with a native payload.
func Names() []string {
	return []string{"content-detect", "speech-detect", "text-detect", "text-orient", "text-recognize"}
}

// object is a JSON Schema, or a part of one.
type object = map[string]any

// Model is a published model, which takes and answers the JSON of the Open Inference
// Protocol V2.
func Model(signature *infer.Signature) (definition.Function, error) {
	required := 0
	for i := range signature.Inputs {
		if !signature.Inputs[i].Optional {
			required++
		}
	}
	inputs := tensors(signature.Inputs)
	inputs["minItems"], inputs["maxItems"] = required, len(signature.Inputs)
	input, err := write(object{
		"type":     "object",
		"required": []string{"inputs"},
		"properties": object{
			"id": object{"type": "string"}, "parameters": object{"type": "object"}, "inputs": inputs,
			"outputs": object{"type": "array", "items": object{"type": "object", "required": []string{"name"}, "properties": object{
				"name": object{"type": "string", "enum": names(signature.Outputs)}, "parameters": object{"type": "object"},
			}}},
		},
	})
	if err != nil {
		return definition.Function{}, err
	}
	output, err := write(object{
		"type":                 "object",
		"required":             []string{"model_name", "outputs"},
		"additionalProperties": false,
		"properties": object{
			"model_name": object{"type": "string"}, "model_version": object{"type": "string"},
			"id": object{"type": "string"}, "parameters": object{"type": "object"}, "outputs": tensors(signature.Outputs),
		},
	})
	if err != nil {
		return definition.Function{}, err
	}
	return definition.Function{Input: input, Output: output, Model: true}, nil
}

func write(schema object) ([]byte, error) {
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("write the schema of a model: %w", err)
	}
	return text, nil
}

// tensors is the schema of a list of some of these.
func tensors(specs []infer.TensorSpec) object {
	types := make([]string, 0, len(specs))
	for i := range specs {
		types = append(types, string(specs[i].DataType))
	}
	slices.Sort(types)
	return object{"type": "array", "items": object{
		"type":     "object",
		"required": []string{"name", "datatype", "shape", "data"},
		"properties": object{
			"name":       object{"type": "string", "enum": names(specs)},
			"datatype":   object{"type": "string", "enum": slices.Compact(types)},
			"shape":      object{"type": "array", "items": object{"type": "integer", "minimum": 0}},
			"data":       object{"type": "array"},
			"parameters": object{"type": "object"},
		},
		"additionalProperties": false,
	}}
}

func names(specs []infer.TensorSpec) []string {
	out := make([]string, len(specs))
	for i := range specs {
		out[i] = specs[i].Name
	}
	return out
}
