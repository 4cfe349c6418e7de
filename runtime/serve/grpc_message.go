package serve

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// expire ends the reading of a request's body.
func expire(controller *http.ResponseController) {
	_ = controller.SetReadDeadline(time.Unix(1, 0)) // a writer without deadlines has no body to wait for
}

// decodeGRPC turns a gRPC request into the wire-free form. Tensor data shares
// the message's memory where it can.
func decodeGRPC(in *inferpb.ModelInferRequest) (*infer.Request, error) {
	req := &infer.Request{Model: in.GetModelName(), Version: in.GetModelVersion(), ID: in.GetId()}
	if err := grpcParameters(req, in.GetParameters()); err != nil {
		return nil, err
	}
	raw := in.GetRawInputContents()
	if len(raw) > 0 && len(raw) != len(in.GetInputs()) {
		return nil, problem.Invalid("raw_input_contents", "expected one entry for each of the %d inputs; got %d", len(in.GetInputs()), len(raw))
	}
	req.Inputs = make([]infer.Tensor, len(in.GetInputs()))
	for i, t := range in.GetInputs() {
		path := "inputs[" + strconv.Itoa(i) + "]"
		if err := refuseShared(path, t.GetParameters()); err != nil {
			return nil, err
		}
		out := &req.Inputs[i]
		out.Name, out.DataType, out.Shape = t.GetName(), infer.DataType(t.GetDatatype()), t.GetShape()
		if !out.DataType.Valid() {
			return nil, problem.Invalid(path+".datatype", "expected a data type of the protocol; got %q", shorten(t.GetDatatype()))
		}
		if len(raw) == 0 {
			if err := contents(out, path, t.GetContents()); err != nil {
				return nil, err
			}
			continue
		}
		if proto.Size(t.GetContents()) > 0 { // some clients always set it
			return nil, problem.Invalid(path+".contents", "expected either contents or raw_input_contents, not both")
		}
		out.Data = aligned(raw[i], out.DataType.Size())
	}
	for i, o := range in.GetOutputs() {
		path := "outputs[" + strconv.Itoa(i) + "]"
		if err := refuseShared(path, o.GetParameters()); err != nil {
			return nil, err
		}
		req.Outputs = append(req.Outputs, infer.RequestedOutput{Name: o.GetName()})
	}
	return req, nil
}

// shorten cuts what a client sent to a length fit for an error.
func shorten(s string) string { return s[:min(len(s), 80)] }

// aligned returns data at an address its elements may be viewed at.
func aligned(data []byte, size int) []byte {
	if size <= 1 || len(data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(data)))%uintptr(size) == 0 { //nolint:gosec // an address is only looked at
		return data
	}
	return append(make([]byte, 0, len(data)), data...)
}

// grpcParameters takes a request's parameters apart.
func grpcParameters(req *infer.Request, in map[string]*inferpb.InferParameter) error {
	for name, p := range in {
		path := "parameters." + shorten(name)
		value, err := parameter(path, p)
		if err != nil {
			return err
		}
		switch name {
		case "timeout":
			µs, ok := value.(int64)
			if !ok || µs < 0 {
				return problem.Invalid(path, "expected a number of microseconds, an integer not below 0; got %v", value)
			}
			req.Timeout = time.Duration(min(µs, math.MaxInt64/int64(time.Microsecond))) * time.Microsecond
		case "priority":
			n, ok := value.(int64)
			if !ok || n < 0 {
				return problem.Invalid(path, "expected a priority, an integer not below 0; got %v", value)
			}
			req.Priority = uint64(n)
		case "binary_data_output": // gRPC answers raw anyway
		default:
			if req.Parameters == nil {
				req.Parameters = infer.Parameters{}
			}
			req.Parameters[name] = value
		}
	}
	return nil
}

// parameter is a parameter's value: a bool, int64, float64 or string.
func parameter(path string, p *inferpb.InferParameter) (any, error) {
	switch v := p.GetParameterChoice().(type) {
	case *inferpb.InferParameter_BoolParam:
		return v.BoolParam, nil
	case *inferpb.InferParameter_Int64Param:
		return v.Int64Param, nil
	case *inferpb.InferParameter_StringParam:
		return v.StringParam, nil
	case *inferpb.InferParameter_DoubleParam:
		return v.DoubleParam, nil
	case *inferpb.InferParameter_Uint64Param:
		if v.Uint64Param > math.MaxInt64 {
			return nil, problem.Invalid(path, "%d is out of range", v.Uint64Param)
		}
		return int64(v.Uint64Param), nil
	default:
		return nil, problem.Invalid(path, "expected a value; it has none")
	}
}

// refuseShared refuses the extensions whose tensors are not in the message.
func refuseShared(path string, in map[string]*inferpb.InferParameter) error {
	for name := range in {
		var what string
		switch {
		case strings.HasPrefix(name, "shared_memory_"):
			what = "shared memory"
		case name == "classification":
			what = "the classification extension"
		default:
			continue
		}
		e := problem.Invalid(path+".parameters."+shorten(name), "%s is not supported", what)
		e.Code = problem.Unimplemented
		return e
	}
	return nil
}

// contents takes a tensor's data from the field of its type.
func contents(out *infer.Tensor, path string, in *inferpb.InferTensorContents) error {
	field, err := "", error(nil)
	switch out.DataType {
	case infer.Bool:
		field, out.Data = "bool_contents", infer.NewTensor("", nil, in.GetBoolContents()).Data
	case infer.Int8, infer.Int16, infer.Int32:
		field = "int_contents"
		out.Data, err = narrow(path+".contents."+field, out.DataType, in.GetIntContents())
	case infer.Int64:
		field, out.Data = "int64_contents", infer.NewTensor("", nil, in.GetInt64Contents()).Data
	case infer.Uint8, infer.Uint16, infer.Uint32:
		field = "uint_contents"
		out.Data, err = narrow(path+".contents."+field, out.DataType, in.GetUintContents())
	case infer.Uint64:
		field, out.Data = "uint64_contents", infer.NewTensor("", nil, in.GetUint64Contents()).Data
	case infer.FP32:
		field, out.Data = "fp32_contents", infer.NewTensor("", nil, in.GetFp32Contents()).Data
	case infer.FP64:
		field, out.Data = "fp64_contents", infer.NewTensor("", nil, in.GetFp64Contents()).Data
	case infer.Bytes:
		field, out.Data = "bytes_contents", infer.NewBytes("", nil, in.GetBytesContents()...).Data
	default: // halves have no field
	}
	if err != nil {
		return err
	}
	if filled := filledFields(in); len(filled) > 1 || len(filled) == 1 && filled[0] != field {
		if field == "" {
			field = "raw_input_contents"
		}
		return problem.Invalid(path+".contents", "expected the data of %s in %s; got it in %s", out.DataType, field, strings.Join(filled, ", "))
	}
	return nil
}

// filledFields names the fields of contents that hold data.
func filledFields(in *inferpb.InferTensorContents) []string {
	var names []string
	for _, f := range [...]struct {
		name string
		n    int
	}{
		{"bool_contents", len(in.GetBoolContents())},
		{"int_contents", len(in.GetIntContents())},
		{"int64_contents", len(in.GetInt64Contents())},
		{"uint_contents", len(in.GetUintContents())},
		{"uint64_contents", len(in.GetUint64Contents())},
		{"fp32_contents", len(in.GetFp32Contents())},
		{"fp64_contents", len(in.GetFp64Contents())},
		{"bytes_contents", len(in.GetBytesContents())},
	} {
		if f.n > 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// narrow turns 32-bit integers into a type of at most as many bits, and refuses
// those it does not hold.
func narrow[T int32 | uint32](path string, d infer.DataType, values []T) ([]byte, error) {
	size := d.Size()
	if size == 4 {
		return infer.NewTensor("", nil, values).Data, nil
	}
	low, high := T(0), T(1)<<(8*size)-1
	if d == infer.Int8 || d == infer.Int16 {
		high >>= 1
		low = -high - 1
	}
	out := make([]byte, 0, len(values)*size)
	for i, v := range values {
		if v < low || v > high {
			return nil, problem.Invalid(path+"["+strconv.Itoa(i)+"]", "%d is out of the range of %s", v, d)
		}
		out = append(out, byte(v))
		if size == 2 {
			out = append(out, byte(v>>8))
		}
	}
	return out, nil
}

// encodeGRPC turns a response into its gRPC form, its outputs raw. They share
// the response's memory.
func encodeGRPC(resp *infer.Response) *inferpb.ModelInferResponse {
	out := &inferpb.ModelInferResponse{
		ModelName: resp.Model, ModelVersion: resp.Version, Id: resp.ID,
		Outputs:           make([]*inferpb.ModelInferResponse_InferOutputTensor, len(resp.Outputs)),
		RawOutputContents: make([][]byte, len(resp.Outputs)),
	}
	for i := range resp.Outputs {
		t := &resp.Outputs[i]
		out.Outputs[i] = &inferpb.ModelInferResponse_InferOutputTensor{Name: t.Name, Datatype: string(t.DataType), Shape: slices.Clone(t.Shape)}
		out.RawOutputContents[i] = t.Data
	}
	for name, value := range resp.Parameters {
		if p := newParameter(value); p != nil {
			if out.Parameters == nil {
				out.Parameters = map[string]*inferpb.InferParameter{}
			}
			out.Parameters[name] = p
		}
	}
	return out
}

// newParameter is a parameter's gRPC form; nil for what is none.
func newParameter(value any) *inferpb.InferParameter {
	switch v := value.(type) {
	case bool:
		return &inferpb.InferParameter{ParameterChoice: &inferpb.InferParameter_BoolParam{BoolParam: v}}
	case int64:
		return &inferpb.InferParameter{ParameterChoice: &inferpb.InferParameter_Int64Param{Int64Param: v}}
	case float64:
		return &inferpb.InferParameter{ParameterChoice: &inferpb.InferParameter_DoubleParam{DoubleParam: v}}
	case string:
		return &inferpb.InferParameter{ParameterChoice: &inferpb.InferParameter_StringParam{StringParam: v}}
	default:
		return nil
	}
}

// grpcStats are the statistics of one version.
func grpcStats(m *ModelStats) *inferpb.ModelStatistics {
	of := func(d Duration) *inferpb.StatisticDuration {
		return &inferpb.StatisticDuration{Count: d.Count, Ns: uint64(max(d.Total, 0))}
	}
	out := &inferpb.ModelStatistics{
		Name: m.Name, Version: m.Version, LastInference: milliseconds(m.LastInference),
		InferenceCount: m.InferenceCount, ExecutionCount: m.ExecutionCount,
		InferenceStats: &inferpb.InferStatistics{
			Success: of(m.Success), Fail: of(m.Fail), Queue: of(m.Queue),
			ComputeInput: of(m.ComputeInput), ComputeInfer: of(m.ComputeInfer), ComputeOutput: of(m.ComputeOutput),
			CacheHit: of(Duration{}), CacheMiss: of(Duration{}),
		},
	}
	for _, b := range m.Batches {
		out.BatchStats = append(out.BatchStats, &inferpb.InferBatchStatistics{
			BatchSize: b.BatchSize, ComputeInput: of(b.ComputeInput), ComputeInfer: of(b.ComputeInfer), ComputeOutput: of(b.ComputeOutput),
		})
	}
	return out
}
