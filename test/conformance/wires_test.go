package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

const headerLength = "Inference-Header-Content-Length"

// rest calls a model by REST, all in JSON or all in binary.
func (s *stack) rest(ctx context.Context, model string, inputs []infer.Tensor, binary bool) ([]infer.Tensor, error) {
	body, err := infer.EncodeRequest(&infer.Request{Inputs: inputs, BinaryOutput: binary}, func(*infer.Tensor) bool { return binary })
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v2/models/"+model+"/infer", bytes.NewReader(body.Bytes()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", body.ContentType())
	if n := body.HeaderLength(); n != infer.NoHeader {
		req.Header.Set(headerLength, strconv.Itoa(n))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", res.Status, answer)
	}
	length := infer.NoHeader
	if text := res.Header.Get(headerLength); text != "" {
		if length, err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	if (length != infer.NoHeader) != binary {
		return nil, fmt.Errorf("asked for binary: %v, and got %s %q", binary, headerLength, res.Header.Get(headerLength))
	}
	response, err := infer.DecodeResponse(answer, length, infer.Limits{})
	if err != nil {
		return nil, err
	}
	return response.Outputs, nil
}

// rpc calls a model by gRPC, by a client nobody here wrote.
func (s *stack) rpc(ctx context.Context, model string, inputs []infer.Tensor) ([]infer.Tensor, error) {
	in := &inferpb.ModelInferRequest{ModelName: model}
	for i := range inputs {
		t := &inputs[i]
		in.Inputs = append(in.Inputs, &inferpb.ModelInferRequest_InferInputTensor{Name: t.Name, Datatype: string(t.DataType), Shape: t.Shape})
		in.RawInputContents = append(in.RawInputContents, t.Data)
	}
	var out inferpb.ModelInferResponse
	if err := s.grpc.Invoke(ctx, "/"+inferpbconnect.GRPCInferenceServiceName+"/ModelInfer", in, &out); err != nil {
		return nil, err
	}
	if len(out.GetRawOutputContents()) != len(out.GetOutputs()) {
		return nil, fmt.Errorf("%d outputs, %d raw contents", len(out.GetOutputs()), len(out.GetRawOutputContents()))
	}
	outputs := make([]infer.Tensor, len(out.GetOutputs()))
	for i, t := range out.GetOutputs() {
		outputs[i] = infer.Tensor{Name: t.GetName(), DataType: infer.DataType(t.GetDatatype()), Shape: t.GetShape(), Data: out.GetRawOutputContents()[i]}
	}
	return outputs, nil
}
