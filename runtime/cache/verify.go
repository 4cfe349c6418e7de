package cache

import (
	"context"
	"fmt"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// discard drops bytes that are only to be hashed.
type discard struct{}

// WriteAt implements io.WriterAt.
func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// FileFault is what Verify found wrong with one file.
type FileFault struct {
	Path   string
	Reason error
}

// Verify reads every file of a version from a store and compares it with the
// manifest, whose signature it checks with v unless that is nil. An empty list
// means that all is as it was published.
func Verify(ctx context.Context, s Store, ref model.Ref, v *sign.Verifier) ([]FileFault, error) {
	m, data, err := s.ReadManifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	var faults []FileFault
	if err := checkSignature(ctx, s, ref, data, v); err != nil {
		faults = append(faults, FileFault{Path: model.ManifestFile, Reason: err})
	}
	f := NewFetcher(s, nil, model.Target{}, v, Transfer{})
	for _, file := range m.Files {
		sum, _, err := f.download(ctx, ref, file, discard{})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			faults = append(faults, FileFault{Path: file.Path, Reason: err})
		case sum != file.SHA256:
			faults = append(faults, FileFault{
				Path: file.Path, Reason: fmt.Errorf("altered: sha256 %s, expected %s", sum, file.SHA256),
			})
		}
	}
	return faults, nil
}
