// Package artifact keeps published models: immutable versions under a prefix
// in S3, each with a manifest that names every file and its sha256, signed
// with Ed25519, and fetched into a bounded cache on the node.
//
// It does not run models and does not decide which to keep in memory.
package artifact

import (
	"os"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The names of a version's own files. The manifest is written last: a version
// without one was never published. Its signature is in an object whose name
// holds the manifest's hash (SignatureObject).
const (
	ManifestFile = "model.json"
	ModelFile    = "model.onnx"
)

// Schema and Platform are what a manifest must say of itself.
const (
	Schema   = 1
	Platform = "onnxruntime_onnx"
)

// Manifest is a version's model.json.
type Manifest struct {
	Schema   int    `json:"schema"` // 1
	Name     string `json:"name"`
	Version  int    `json:"version"`
	Platform string `json:"platform"` // "onnxruntime_onnx"

	infer.Signature

	// Batching is the publisher's own word on batches; nil lets the server
	// learn what pays.
	Batching *Batching `json:"batching,omitempty"`

	// Cost is what running it took where it was published; nil when nobody
	// measured. A server begins with it and corrects it by what it sees.
	Cost *Cost `json:"cost,omitempty"`

	Files    []File            `json:"files"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Batching overrides what a server would learn.
type Batching struct {
	MaxBatchSize int   `json:"max_batch_size,omitempty"` // rows; 1 is no batching, 0 leaves it to the server
	MaxDelay     int64 `json:"max_delay_us,omitempty"`   // to wait for more rows, in µs

	// IndependentRows has requests joined along the batch axis though the graph
	// does not show that rows do not depend on each other: the publisher says so.
	IndependentRows bool `json:"independent_rows,omitempty"`
}

// Cost is what a version takes.
type Cost struct {
	Memory  int64       `json:"memory_bytes"`      // resident, loaded and warm
	Batches []BatchCost `json:"batches,omitempty"` // by size, rising; with inputs of the example shapes

	// WarmExample has a server warm up with the example, though there are smaller
	// inputs: the first run after those took as much longer as they save.
	WarmExample bool `json:"warm_example,omitempty"`
}

// BatchCost is the time of one run on one thread, in nanoseconds.
type BatchCost struct {
	Size  int   `json:"size"`     // rows
	Alone int64 `json:"alone_ns"` // with nothing else running
	Busy  int64 `json:"busy_ns"`  // with one such run on every processor
}

// File is one file of a version.
type File struct {
	Path   string `json:"path"`   // its name on disk; one plain element
	Object string `json:"object"` // its name beside the manifest in S3; holds the hash, so two pushes never meet
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex

	// Optimized says what an .ort file was made for; nil for the model itself
	// and its external data.
	Optimized *Target `json:"optimized,omitempty"`
}

// Target is what an optimised .ort file fits: it is used only by the same ONNX
// Runtime version on a CPU with the same features.
type Target struct {
	ONNXRuntime string   `json:"onnxruntime"` // "1.31.1"
	Arch        string   `json:"arch"`        // GOARCH
	CPU         []string `json:"cpu"`         // features that ONNX Runtime's kernels choose by, sorted
}

// Ref names one version of a model.
type Ref struct {
	Name    string // a DNS label
	Version int    // positive
}

// Local is a version on this node's disk, verified. Its files stay until
// Release: a session that has them open or mapped needs them no longer.
type Local struct {
	Manifest Manifest
	Digest   string // "sha256:…" of model.json's bytes
	Path     string // the file to load
	ORT      bool   // Path is an .ort that fits this library and CPU
	Timing   Timing

	leases  []*lease
	release func()
}

// Suspect makes the next Fetch hash the files again: they did not load, though
// they look as they did when they were verified.
func (l *Local) Suspect() {
	for _, lease := range l.leases {
		// Without a stamp a file is hashed before it is used. One that cannot
		// be removed is in a cache that this process does not write to.
		_ = os.Remove(lease.path + ".ok")
	}
}

// Release lets the cache evict the files. Releasing twice is safe.
func (l *Local) Release() {
	if l.release != nil {
		l.release()
	}
}

// Timing is where fetching a version went. Hashing and the signature overlap the
// download; Verify is only what was left of both once the last byte was there.
type Timing struct {
	Fetch, Verify time.Duration
	Target        time.Duration // waited for what this node is, which is in neither
	Bytes         int64         // read from S3; 0 when the cache had it all
}
