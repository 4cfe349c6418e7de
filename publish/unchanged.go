package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/model"
)

// unchanged looks whether the version asked for, or else the newest, holds
// these bytes; nil when there is something to publish.
func (p *Publisher) unchanged(ctx context.Context, req *Request, sources map[string]string) (*Result, error) {
	ref := model.Ref{Name: req.Name, Version: req.Version}
	var err error
	if ref.Version == 0 {
		ref, err = p.Store.Newest(ctx, req.Name)
	}
	var have *model.Manifest
	var digest string
	if err == nil {
		have, digest, err = p.Store.Manifest(ctx, ref)
	}
	if err != nil {
		if problem.CodeOf(err) == problem.ModelNotFound {
			if req.Version == 0 {
				return nil, nil //nolint:nilnil // nothing to compare with
			}
			return nil, p.Store.CheckNumber(ctx, ref)
		}
		if req.Version == 0 && model.IsPermanent(err) {
			return nil, nil //nolint:nilnil // the newest cannot be read any more: a new version
		}
		return nil, err
	}
	same, err := holds(have, sources)
	switch {
	case err != nil:
		return nil, err
	case same && req.Version == 0 && !req.heldBy(have):
		return nil, nil //nolint:nilnil // other words on it: a new version
	case same && !req.heldBy(have):
		return &Result{
			Published: artifact.Published{Ref: ref, Digest: digest, Manifest: have, Unchanged: true},
			Notes:     []string{"it keeps the bounds that it was published with, and its batching, as a version never changes; the next one can have others"},
		}, nil
	case same:
		return &Result{Published: artifact.Published{Ref: ref, Digest: digest, Manifest: have, Unchanged: true}}, nil
	case req.Version != 0:
		return nil, problem.New(problem.VersionExists,
			"%s is published with other bytes (%s), and a version never changes; leave --version out to take the next", ref, digest)
	}
	return nil, nil //nolint:nilnil // other bytes: a new version
}

// heldBy reports whether a manifest has what the request sets of the model.
// What it does not set may be anything.
func (r *Request) heldBy(m *model.Manifest) bool {
	if !r.Bounds.heldBy(&m.Signature) || r.IndependentRows && m.BatchAxis == nil {
		return false
	}
	if r.Batching != (model.Batching{}) {
		asked := r.Batching
		asked.IndependentRows = m.Batching != nil && m.Batching.IndependentRows
		if !m.Batching.Equal(&asked) {
			return false
		}
	}
	if len(r.Ragged) == 0 {
		return true
	}
	held := 0
	for i := range m.Inputs {
		spec := &m.Inputs[i]
		if spec.Ragged == nil {
			continue
		}
		if spec.Ragged.Max == 0 {
			return false // published when none was proven up to a length
		}
		held++
		if !slices.Contains(r.Ragged, Ragged{Input: spec.Name, Axis: spec.Ragged.Axis, Pad: spec.Ragged.Pad}) {
			return false
		}
	}
	return held == len(r.Ragged)
}

// holds reports whether a manifest is of exactly these files.
func holds(m *model.Manifest, sources map[string]string) (bool, error) {
	count := 0
	for _, f := range m.Files {
		if f.Optimized != nil {
			continue
		}
		count++
		source, ok := sources[f.Path]
		if !ok {
			return false, nil
		}
		sum, err := hashFile(source)
		if err != nil || sum != f.SHA256 {
			return false, err
		}
	}
	return count == len(sources), nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the model: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the model: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
