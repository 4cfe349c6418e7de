// Package functions is what pipelines know of the functions that are shipped, and of
// published models: the JSON that each takes and answers, as JSON Schemas.
//
// It links no codec and calls nothing: the schemas are files beside the functions,
// held to the codecs by tests there.
package functions

import (
	"github.com/modelserveai/modelserve/pipelines/definition"
)

// Shipped is a function that is shipped with a native payload.
func Shipped(name string) (definition.Function, bool) { return definition.Function{}, false }
