package payload_test

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// A form has one input, which may be sent inline or by reference, and a list.
func ExampleDecode() {
	var form struct {
		Image  payload.Source    `json:"image"`
		Labels payload.List[int] `json:"labels"`
	}
	in := serve.Payload{ContentType: "application/json", Body: []byte(`{"image": "aGVsbG8=", "labels": [1, 2]}`)}
	if err := payload.Decode(in, &form); err != nil {
		fmt.Println(err)
		return
	}
	image, err := form.Image.Bytes(context.Background(), in)
	fmt.Println(string(image), form.Labels, err)
	// Output: hello [1 2] <nil>
}

// What is wrong is a problem that names the field, which the caller gets.
func ExampleDecode_refused() {
	var form struct {
		Labels payload.List[int] `json:"labels"`
	}
	err := payload.Decode(serve.Payload{Body: []byte(`{"labels": [1, "two"]}`)}, &form)
	fmt.Println(problem.CodeOf(err), problem.From(err).Fields[0].Field)
	// Output: invalid_argument labels[1]
}
