package cache

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Manifest reads a version's manifest and digest, and checks its signature
// where the fetcher has a verifier.
func (f *Fetcher) Manifest(ctx context.Context, ref model.Ref) (*model.Manifest, string, error) {
	return SignedManifest(ctx, f.store, ref, f.verifier)
}

// SignedManifest reads a version's manifest and digest from a store, and refuses
// what v does not accept; a nil v accepts everything.
func SignedManifest(ctx context.Context, s Store, ref model.Ref, v *sign.Verifier) (*model.Manifest, string, error) {
	m, data, err := s.ReadManifest(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	if err := checkSignature(ctx, s, ref, data, v); err != nil {
		return nil, "", err
	}
	return m, model.DigestOf(data), nil
}

// checkSignature reads and checks the signature of a manifest's bytes.
func checkSignature(ctx context.Context, s Store, ref model.Ref, manifest []byte, v *sign.Verifier) error {
	if v == nil {
		return nil
	}
	signatures, err := s.ReadSignatures(ctx, ref, manifest)
	if err == nil {
		if err = v.Verify(manifest, signatures); err != nil {
			err = model.Permanent(err)
		}
	}
	if err != nil {
		return model.Unavailable(ref, fmt.Errorf("%s: %w", model.ManifestFile, err))
	}
	return nil
}

// trust is what is not known yet of a manifest: whether its signature holds.
type trust struct {
	done chan struct{}
	err  error // set before done is closed
}

// wait returns nil once the signature holds.
func (t *trust) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
