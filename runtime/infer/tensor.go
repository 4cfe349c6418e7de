// Package infer holds the Open Inference Protocol V2 as values: tensors,
// requests, responses, a model's signature, and the reading, writing and
// checking of them. REST's JSON and its binary tensor extension are here; the
// gRPC messages are in inferpb beside it.
//
// It is not a server and runs nothing: serve implements the protocol, pool and ort
// run models. It imports no transport.
//
// Protocol: https://github.com/kserve/open-inference-protocol and Triton's
// binary tensor data, classification-free parameters and statistics extensions.
package infer

import (
	"time"

	"github.com/modelserveai/modelserve/internal/memory"
)

// DataType is a V2 tensor data type by its protocol name.
type DataType string

// The data types of the protocol, and Triton's BF16.
const (
	Bool   DataType = "BOOL"
	Uint8  DataType = "UINT8"
	Uint16 DataType = "UINT16"
	Uint32 DataType = "UINT32"
	Uint64 DataType = "UINT64"
	Int8   DataType = "INT8"
	Int16  DataType = "INT16"
	Int32  DataType = "INT32"
	Int64  DataType = "INT64"
	FP16   DataType = "FP16"
	BF16   DataType = "BF16"
	FP32   DataType = "FP32"
	FP64   DataType = "FP64"
	Bytes  DataType = "BYTES"
)

// Size is the bytes one element takes in Tensor.Data; 0 for BYTES, whose
// elements have lengths of their own, and for what is no data type.
func (d DataType) Size() int {
	switch d {
	case Bool, Uint8, Int8:
		return 1
	case Uint16, Int16, FP16, BF16:
		return 2
	case Uint32, Int32, FP32:
		return 4
	case Uint64, Int64, FP64:
		return 8
	default:
		return 0
	}
}

// Valid reports whether d is one of the protocol's data types.
func (d DataType) Valid() bool { return d == Bytes || d.Size() > 0 }

// Tensor is a named array. Data is the protocol's raw form whatever wire it
// came by: elements in row-major order, little-endian, without padding; BYTES
// elements each behind their length as a little-endian uint32. Data of a fixed
// size type is aligned to its element size, so it may be viewed in place.
type Tensor struct {
	Name     string
	DataType DataType
	Shape    []int64
	Data     []byte
}

// Elements is the product of the shape; 1 for a scalar. It is -1 when a
// dimension is negative or the product overflows an int64.
func (t *Tensor) Elements() int64 { return elements(t.Shape) }

// Parameters are the protocol's open-ended request and response parameters:
// values are bool, int64, float64 or string.
type Parameters map[string]any

// Request asks for one inference.
type Request struct {
	Model   string // name, as in the URL
	Version string // "" is the newest published, or the alias "stable" where set
	ID      string // the client's own, echoed

	Inputs  []Tensor
	Outputs []RequestedOutput // empty asks for all, as JSON unless BinaryOutput

	// BinaryOutput is Triton's binary_data_output: outputs that do not set
	// it themselves come back in binary.
	BinaryOutput bool

	Timeout  time.Duration // from the "timeout" parameter (µs); 0 is none
	Priority uint64        // from the "priority" parameter; lower is sooner, 0 is the default
	Tenant   string        // who pays; set by the server from the gateway's header, never from a body

	Parameters Parameters // the rest of the request's parameters

	// Held is what the memory of its outputs is charged to; nil is nobody.
	Held *memory.Call
}

// RequestedOutput names one output wanted, and how it is wanted on REST.
type RequestedOutput struct {
	Name   string
	Binary *bool // nil follows Request.BinaryOutput
}

// Response answers a Request.
type Response struct {
	Model      string
	Version    string
	ID         string
	Parameters Parameters
	Outputs    []Tensor

	Timing Timing

	// OnRelease, when set, returns the outputs' memory to its owner.
	OnRelease func()
}

// Release gives the outputs' memory back; they must not be used after it.
// Releasing twice is safe, and not releasing costs only reuse.
func (r *Response) Release() {
	if r.OnRelease != nil {
		r.OnRelease()
		r.OnRelease = nil
	}
}

// Timing is where a request's time went, for Server-Timing, statistics and
// metrics. Parts that did not happen are zero. The last five are set only on
// the request that waited for a cold model.
type Timing struct {
	Queue     time.Duration // waited for a slot
	Input     time.Duration // gathered or converted inputs
	Infer     time.Duration // ran in ONNX Runtime
	Output    time.Duration // split or converted outputs
	BatchSize int           // rows that ran together, this request's included
	Rows      int           // of this request; 0 where nobody counted

	Fetch  time.Duration // bytes from S3 to the node's cache
	Verify time.Duration // hashing and the signature, what was not hidden behind Fetch
	Load   time.Duration // session creation
	Warm   time.Duration // the first run
}
