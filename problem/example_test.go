package problem_test

import (
	"fmt"
	"net/http/httptest"

	"github.com/modelserveai/modelserve/problem"
)

// A codec returns what is wrong with a field; the server writes it.
func ExampleInvalid() {
	err := problem.Invalid("orientation", "%d; expected 0, 90, 180 or 270", 45)
	w := httptest.NewRecorder()
	problem.Write(w, err)
	fmt.Println(w.Code, problem.CodeOf(err), problem.From(err).Fields[0].Detail)
	// Output: 400 invalid_argument 45; expected 0, 90, 180 or 270
}

// What is not a field's fault has a code of its own.
func ExampleNew() {
	err := problem.New(problem.ModelUnavailable, "the model has %d classes, and its labels are %d", 5, 4)
	fmt.Println(problem.CodeOf(err), err.Code.Row().Status)
	// Output: model_unavailable 503
}
