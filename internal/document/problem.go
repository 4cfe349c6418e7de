package document

import (
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/problem"
)

// Problem is an error as whoever sent a document gets it: Faults with each by its field;
// any other as it is.
func Problem(err error) error {
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		return err
	}
	p := problem.New(problem.InvalidArgument, "the document is not what it should be: %s", faults[0])
	if len(faults) > 1 {
		p = problem.New(problem.InvalidArgument, "the document has %d faults, the first: %s", len(faults), faults[0])
	}
	for _, f := range faults {
		field, detail := f.Path, f.Detail
		if field == "" {
			field = "body"
		}
		if f.Line > 0 {
			detail = fmt.Sprintf("line %d: %s", f.Line, detail)
		}
		p.Fields = append(p.Fields, problem.Field{Field: field, Detail: detail})
	}
	return p
}
