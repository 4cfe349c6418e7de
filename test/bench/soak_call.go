package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// question is one request, and what its answer has to be.
type question struct {
	model, version string
	input          infer.Tensor
	check          func(*answer) error
	done           func() // nil is nothing to do
}

// answer is what came back of it.
type answer struct {
	version string
	values  []float32
}

// The refusals that are counted apart from other failures: 429, 413 and 400.
var (
	errTooMany  = errors.New("too many requests")
	errTooLarge = errors.New("too large a body")
	errInvalid  = errors.New("an invalid argument")
)

// caller sends questions as one tenant.
type caller func(ctx context.Context, q *question) (*answer, error)

// restCaller calls by REST, with tensors in binary or in JSON.
func restCaller(client *http.Client, address, key string, binary bool) caller {
	return func(ctx context.Context, q *question) (*answer, error) {
		encoded, err := infer.EncodeRequest(&infer.Request{Inputs: []infer.Tensor{q.input}, BinaryOutput: binary}, func(*infer.Tensor) bool { return binary })
		if err != nil {
			return nil, err
		}
		path := "/v2/models/" + q.model
		if q.version != "" {
			path += "/versions/" + q.version
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path+"/infer", bytes.NewReader(encoded.Bytes()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-API-Key", key)
		req.Header.Set("Content-Type", encoded.ContentType())
		if binary {
			req.Header.Set("Inference-Header-Content-Length", strconv.Itoa(encoded.HeaderLength()))
		}
		body, header, err := send(client, req)
		if err != nil {
			return nil, err
		}
		length := infer.NoHeader
		if text := header.Get("Inference-Header-Content-Length"); text != "" {
			if length, err = strconv.Atoi(text); err != nil {
				return nil, err
			}
		}
		resp, err := infer.DecodeResponse(body, length, infer.Limits{})
		if err != nil {
			return nil, err
		}
		if len(resp.Outputs) == 0 {
			return nil, errors.New("an answer without outputs")
		}
		values, err := infer.Values[float32](&resp.Outputs[0])
		return &answer{resp.Version, values}, err
	}
}

// maxSoakAnswer is more than any answer has.
const maxSoakAnswer = 64 << 20

// send sends a request and reads its answer, which has to be 200 or 201.
func send(client *http.Client, req *http.Request) ([]byte, http.Header, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSoakAnswer))
	if err != nil {
		return nil, nil, err
	}
	text := string(body[:min(len(body), 500)])
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return body, res.Header, nil
	case http.StatusTooManyRequests:
		return nil, nil, fmt.Errorf("%w: %s", errTooMany, text)
	case http.StatusRequestEntityTooLarge:
		return nil, nil, fmt.Errorf("%w: %s", errTooLarge, text)
	case http.StatusBadRequest:
		return nil, nil, fmt.Errorf("%w: %s", errInvalid, text)
	default:
		return nil, nil, &statusError{res.StatusCode, text}
	}
}

// grpcCaller calls by gRPC.
func grpcCaller(client *http.Client, address, key string) caller {
	service := inferpbconnect.NewGRPCInferenceServiceClient(client, "http://"+address, connect.WithGRPC())
	return func(ctx context.Context, q *question) (*answer, error) {
		ctx, call := connect.NewClientContext(ctx)
		call.RequestHeader().Set("X-API-Key", key)
		resp, err := service.ModelInfer(ctx, &inferpb.ModelInferRequest{
			ModelName: q.model, ModelVersion: q.version,
			Inputs: []*inferpb.ModelInferRequest_InferInputTensor{{
				Name: q.input.Name, Datatype: string(q.input.DataType), Shape: q.input.Shape,
			}},
			RawInputContents: [][]byte{q.input.Data},
		})
		if err != nil {
			return nil, grpcError(err)
		}
		if len(resp.GetRawOutputContents()) == 0 {
			return nil, errors.New("an answer without outputs")
		}
		out := infer.Tensor{
			Name: resp.GetOutputs()[0].GetName(), DataType: infer.DataType(resp.GetOutputs()[0].GetDatatype()),
			Shape: resp.GetOutputs()[0].GetShape(), Data: bytes.Clone(resp.GetRawOutputContents()[0]),
		}
		values, err := infer.Values[float32](&out)
		return &answer{resp.GetModelVersion(), values}, err
	}
}

// grpcError maps the refusals that are expected to their errors.
func grpcError(err error) error {
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch problemgrpc.Code(refused) {
	case problem.Overloaded:
		return fmt.Errorf("%w: %w", errTooMany, err)
	case problem.InvalidArgument:
		return fmt.Errorf("%w: %w", errInvalid, err)
	default:
		return err
	}
}
