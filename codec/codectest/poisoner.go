package codectest

import (
	"context"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Poisoner runs a model, leaves nothing but NaN in the memory of its first input,
// which is FP32, and counts the NaN that it was given: those of a codec that
// reuses memory and does not write all of it.
type Poisoner struct {
	serve.Runner

	Unwritten int // elements that held NaN
}

// Run implements serve.Runner.
func (p *Poisoner) Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	values, err := infer.Values[float32](&inputs[0])
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		if v != v {
			p.Unwritten++
		}
	}
	outputs, err := p.Runner.Run(ctx, inputs)
	for i := range inputs[0].Data {
		inputs[0].Data[i] = 0xff
	}
	return outputs, err
}
