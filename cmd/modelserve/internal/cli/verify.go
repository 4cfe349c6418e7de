package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/cache"
)

// verify reads a published version whole; what it finds wrong is the error,
// file by file.
func (s *store) verify(ctx context.Context, text string) (*verified, error) {
	ref, err := s.resolve(ctx, text)
	if err != nil {
		return nil, err
	}
	verifier, err := s.verifier()
	if err != nil {
		return nil, err
	}
	m, digest, err := s.Manifest(ctx, ref)
	if err != nil {
		return nil, notPublished(err)
	}
	faults, err := cache.Verify(ctx, s.Store, ref, verifier)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", ref, err)
	}
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = fmt.Errorf("%s: %s: %w", ref, f.Path, f.Reason)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	v := &verified{Model: ref.String(), Digest: digest, Signed: verifier != nil, Files: len(m.Files)}
	for _, file := range m.Files {
		v.Bytes += file.Size
	}
	return v, nil
}
