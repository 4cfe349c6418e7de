package artifact

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/model"
)

// Delete removes a version: its manifest first, so that from then on it is not
// published, then every object of it. One that the model's policy names is
// problem.Conflict: calls would go to another version that nobody chose. The
// model's last version goes in any case, and the policy with it. Its number is
// written down before, and never used again.
func (s *Store) Delete(ctx context.Context, ref model.Ref) error {
	if err := ref.Check(); err != nil {
		return err
	}
	versions, err := s.versions(ctx, ref.Name)
	if err != nil {
		return err
	}
	if !slices.Contains(versions, ref.Version) {
		return problem.New(problem.ModelNotFound, "model %q has no published version %d", ref.Name, ref.Version)
	}
	last := len(versions) == 1
	if !last {
		if err := s.unused(ctx, ref); err != nil {
			return err
		}
	}
	return s.delete(ctx, []model.Ref{ref}, last)
}

// DeleteAll removes every version of a model, and its policy. What remains is
// the record of the numbers that it had.
func (s *Store) DeleteAll(ctx context.Context, name string) ([]model.Ref, error) {
	versions, err := s.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	refs := make([]model.Ref, len(versions))
	for i, v := range versions {
		refs[i] = model.Ref{Name: name, Version: v}
	}
	return refs, s.delete(ctx, refs, true)
}

// unused refuses a version that the policy names. A policy that cannot be read
// names none: nobody follows it.
func (s *Store) unused(ctx context.Context, ref model.Ref) error {
	p, err := s.Policy(ctx, ref.Name)
	var bad unreadable
	switch {
	case errors.As(err, &bad):
		return nil
	case err != nil:
		return err
	}
	if use := p.Uses(ref.Version); use != "" {
		return problem.New(problem.Conflict, "model %s is used by %s of its policy: move that to another version first", ref, use)
	}
	return nil
}

// delete removes versions of one model; all is whether no other is left, so
// that the policy goes too. Their numbers are recorded first; then the manifests
// go, and readers are notified.
func (s *Store) delete(ctx context.Context, refs []model.Ref, all bool) error {
	var gone []string
	var versions []int
	for _, ref := range refs {
		gone, versions = append(gone, keyOf(ref, model.ManifestFile)), append(versions, ref.Version)
	}
	if err := s.recordDeleted(ctx, refs[0].Name, versions); err != nil {
		return err
	}
	if all {
		gone = append(gone, policyKey(refs[0].Name))
	}
	err := s.removeAll(ctx, gone)
	s.announce(ctx) // some may be gone even so
	if err != nil {
		return problem.New(problem.Unavailable, "delete model %s: %w", refs[0].Name, err)
	}
	for _, ref := range refs {
		var objects []types.Object
		err := s.list(ctx, keyOf(ref, ""), "", func(page *s3.ListObjectsV2Output) { objects = append(objects, page.Contents...) })
		if err == nil {
			keys := make([]string, len(objects))
			for i, o := range objects {
				keys[i] = aws.ToString(o.Key)
			}
			err = s.removeAll(ctx, keys)
		}
		if err != nil {
			return problem.New(problem.Unavailable, "delete files of model %s: %w", ref, err)
		}
	}
	return nil
}

// removeAll deletes objects, several at once; one that is not there is gone.
func (s *Store) removeAll(ctx context.Context, keys []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, key := range keys {
		g.Go(func() error {
			if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}); err != nil {
				return s.explain(err)
			}
			return nil
		})
	}
	return g.Wait()
}
