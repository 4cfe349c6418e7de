// Package serve answers the Open Inference Protocol, native payloads and
// CloudEvents over HTTP and gRPC on one port, with health, statistics and
// metrics.
//
// It runs no model and knows no storage: a Backend does, and a Codec turns a
// function's native payload into tensors and back.
package serve

import (
	"context"
	"io"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Backend runs models for the server. It is the one seam between the wire and
// what runs behind it: runtime/pool implements it, batching goes in behind it.
// Errors are problems (problem) where the caller can do something.
type Backend interface {
	// Acquire resolves a model's name and version, loads it when it must, and
	// holds that one version until the lease is released, whatever is swapped or
	// evicted meanwhile. A version is a number or an alias, as the request has
	// it; an empty one is for the model's policy to choose: its split, the alias
	// "stable", or the newest. The lease may be Aliased. A full queue is problem.Overloaded, an unknown model problem.ModelNotFound,
	// one that will not load problem.ModelUnavailable with the reason.
	Acquire(ctx context.Context, name, version string) (Lease, error)
}

// Lease is one version of a model, held for the length of one request.
type Lease interface {
	// Info describes the version held. It is shared: do not change it.
	Info() *ModelInfo

	// Run checks the request against the signature, waits its turn and runs it.
	// A codec may run several in one lease, also at once. The deadline and
	// cancellation come by ctx. What outputs take is charged to req.Held before it is
	// allocated, until the response is released, which the caller does.
	Run(ctx context.Context, req *infer.Request) (*infer.Response, error)

	// Release gives the version back. Releasing twice is safe.
	Release()
}

// Aliased is what a Lease may also be: it has the alias that decided on its
// version, which answers carry. It is not part of Info, which all leases of a
// version share.
type Aliased interface {
	// Alias is the name that the version was found by, or "stable" where that
	// answered a call without a version; "" when no alias decided.
	Alias() string
}

// Repository describes models and manages their memory. None of its methods but
// Load loads anything.
type Repository interface {
	// Model describes one model; versions are as for Acquire, and an empty one is
	// the one Acquire would take, or, in a split, one of those.
	Model(ctx context.Context, name, version string) (*ModelInfo, error)

	// Index lists every version that could be called, by name, newest first.
	Index(ctx context.Context) ([]ModelStatus, error)

	// Load loads a model now; Unload frees its memory now. An unloaded model
	// stays published, and the next call loads it again.
	Load(ctx context.Context, name string) error
	Unload(ctx context.Context, name string) error

	// Stats counts since the process began; an empty name is every model, an
	// empty version every one that has been used.
	Stats(ctx context.Context, name, version string) ([]ModelStats, error)
}

// ModelInfo is a model as its manifest describes it.
type ModelInfo struct {
	ModelStatus

	Versions  []string // published and callable here, newest first
	Platform  string   // "onnxruntime_onnx"
	Digest    string   // "sha256:…" of the version's model.json
	Device    string   // where it runs, or would: "cpu", "cuda:0"; "auto" before that is known
	Signature infer.Signature
	Metadata  map[string]string // the model's own key-value metadata

	DeviceReason string // why it is not a device that would have been better; "" without one
}

// ModelStatus is one row of the repository index.
type ModelStatus struct {
	Name    string
	Version string
	State   State
	Reason  string // why it is unavailable, or what it is doing
}

// State is a model's state in the repository index, by Triton's names.
type State string

// The states. A published model that is not loaded is Ready: a call to it
// would be answered.
const (
	Ready       State = "READY"
	Loading     State = "LOADING"
	Unloading   State = "UNLOADING"
	Unavailable State = "UNAVAILABLE"
)

// ModelStats are Triton's statistics of one version
// (https://github.com/triton-inference-server/server, extension_statistics).
type ModelStats struct {
	Name, Version  string
	LastInference  time.Time // zero before the first
	InferenceCount uint64    // rows answered
	ExecutionCount uint64    // runs; fewer than rows when batches form

	Success, Fail, Queue, ComputeInput, ComputeInfer, ComputeOutput Duration

	Batches []BatchStats // by batch size, rising
}

// BatchStats are the runs of one batch size.
type BatchStats struct {
	BatchSize                                 uint64
	ComputeInput, ComputeInfer, ComputeOutput Duration
}

// Duration counts events and sums their time.
type Duration struct {
	Count uint64
	Total time.Duration
}

// Runner runs a function's own model for its codec: a Lease whose timings the
// server adds up.
type Runner interface {
	// Run checks the inputs against the signature, waits its turn, and returns
	// every output in the signature's order. The tensors are valid until the
	// codec has answered.
	Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error)
	Info() *ModelInfo
}

// Releaser is what a Runner may also be: it takes one run's outputs back before
// the codec has answered. A codec that runs its model many times for one
// request hands each run's outputs back, or it would hold them all.
type Releaser interface {
	// Release gives the outputs of one Run back; they must not be used after it.
	// What was given back already, or never came from Run, is ignored.
	Release(outputs []infer.Tensor)
}

// Codec answers a function's native payload with its model: it turns the
// payload into tensors, runs them, and returns what encoding/json makes the
// answer of. It is called from many goroutines. A bad payload is a problem
// that names the field; a panic is that one request's 500.
type Codec interface {
	Answer(ctx context.Context, in Payload, model Runner) (any, error)
}

// Payload is a native request: the body of POST / or the data of a CloudEvent,
// already within the body's bound.
type Payload struct {
	ContentType string // media type without parameters, lower case; "" if none
	Body        []byte

	// Open opens what a {"ref": "s3://…"} names. It is bounded like a body, and
	// refuses what is outside the inputs of the tenant that calls.
	Open func(ctx context.Context, ref string) (io.ReadCloser, error)

	// Reserve takes bytes from the process's memory budget before a codec
	// allocates them (a decoded image); they return when the request ends. It
	// is problem.Overloaded when they are not free in time, and
	// problem.PayloadTooLarge when they never will be.
	Reserve func(ctx context.Context, bytes int64) error

	// Return, when set, gives back reserved bytes that a codec has let go of, before the
	// request ends: its model's outputs may need them.
	Return func(bytes int64)
}
