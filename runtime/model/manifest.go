// Package model has the documents that describe models: a version's name, its
// manifest, the policy that chooses between versions, and the rules that each
// must keep.
//
// It reads and writes these as bytes. It fetches, stores and signs nothing
// (runtime/artifact, runtime/cache, runtime/sign), and runs no model.
package model

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// The names of a version's own files. The manifest is written last: a version
// without one was never published. Its signature is in an object whose name
// holds the manifest's hash (SignatureObject).
const (
	ManifestFile = "model.json"
	ModelFile    = "model.onnx"
)

// Schema and Platform are the values that a manifest must have of these.
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

	// Batching is the publisher's own settings of batches; nil lets the server
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
	// does not show that rows do not depend on each other: the publisher asserts it.
	IndependentRows bool `json:"independent_rows,omitempty"`
}

// Equal reports whether two settings mean the same; nil, and one that leaves
// everything to the server, do.
func (b *Batching) Equal(other *Batching) bool {
	var x, y Batching
	if b != nil {
		x = *b
	}
	if other != nil {
		y = *other
	}
	return x == y
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

	// Optimized is what an .ort file was made for; nil for the model itself
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

// DigestOf is the digest of a version whose model.json has these bytes.
func DigestOf(manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Fits reports whether a file made for t runs well where have is.
func (t *Target) Fits(have Target) bool {
	return t.ONNXRuntime == have.ONNXRuntime && t.Arch == have.Arch && slices.Equal(t.CPU, have.CPU)
}

// Choose lists the files that a node needs, the one to load first: the
// optimised copy that fits it, or the model and its external data.
func (m *Manifest) Choose(have Target) (files []File, ort bool) {
	for _, f := range m.Files {
		if f.Optimized != nil && f.Optimized.Fits(have) {
			return []File{f}, true
		}
	}
	for _, f := range m.Files {
		switch {
		case f.Optimized != nil:
		case f.Path == ModelFile:
			files = slices.Insert(files, 0, f)
		default:
			files = append(files, f)
		}
	}
	return files, false
}

// Listed is a published version as a listing has it.
type Listed struct {
	Version int
	Tag     string // another one when other bytes are published under the number; "" is not known
}

// Summary is what callers learn of a published version: its manifest without the
// files.
type Summary struct {
	Ref

	Platform  string
	Digest    string // "sha256:…" of the version's model.json; "" if not known
	Signature infer.Signature
}
