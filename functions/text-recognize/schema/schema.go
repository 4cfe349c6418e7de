// Package schema has the JSON that text-recognize takes and answers, as JSON Schemas, for
// those who call it and do not link its codec. A test of pipelines/functions holds them
// to the codec.
package schema

import (
	_ "embed"
	"slices"
)

//go:embed input.json
var input []byte

//go:embed output.json
var output []byte

// Input is the schema of the JSON form of its native payload.
func Input() []byte { return slices.Clone(input) }

// Output is the schema of its answer.
func Output() []byte { return slices.Clone(output) }
