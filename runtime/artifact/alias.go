// Package artifact keeps published models: immutable versions under a prefix
// in S3, each with a manifest that names every file and its sha256, signed
// with Ed25519, and fetched into a bounded cache on the node.
//
// It does not run models and does not decide which to keep in memory.
package artifact

import (
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Names that have moved.
//
//nolint:revive // their comments are in runtime/model
type (
	Ref       = model.Ref
	Manifest  = model.Manifest
	File      = model.File
	Target    = model.Target
	Batching  = model.Batching
	Cost      = model.Cost
	BatchCost = model.BatchCost
	Policy    = model.Policy
	Share     = model.Share
	Version   = model.Listed

	Signer   = sign.Signer
	Verifier = sign.Verifier
	Trust    = sign.Trust
)

// Names that have moved.
const (
	ManifestFile   = model.ManifestFile
	ModelFile      = model.ModelFile
	PolicyFile     = model.PolicyFile
	Latest         = model.Latest
	Stable         = model.Stable
	MaxWeight      = model.MaxWeight
	MaxBatch       = model.MaxBatch
	MaxDelay       = model.MaxDelay
	MaxRaggedBytes = model.MaxRaggedBytes
)

// Names that have moved.
var (
	CreateKeys        = sign.CreateKeys
	NewVerifier       = sign.NewVerifier
	ReadSigner        = sign.ReadSigner
	ReadVerifier      = sign.ReadVerifier
	ErrUnsigned       = sign.ErrUnsigned
	ErrWrongSignature = sign.ErrWrongSignature
)

// Lasting is model.Lasting.
func Lasting(err error) bool { return model.Lasting(err) }
