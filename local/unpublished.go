package local

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/model"
)

// reportUnpublished looks, once the shipped models are there, whether every
// version that the manifests name is published, and reports those that are not:
// their functions would fail when they are called.
func (p *platform) reportUnpublished(ctx context.Context, set manifest.Set) {
	p.wg.Go(func() {
		if p.untilPublished(ctx) != nil {
			return
		}
		if err := p.unpublished(ctx, set); err != nil && ctx.Err() == nil {
			p.screen.Problem(err)
		}
	})
}

// unpublished joins a sentence for each version that is named and not
// published.
func (p *platform) unpublished(ctx context.Context, set manifest.Set) error {
	store, err := p.models(ctx)
	if err != nil {
		return err
	}
	var faults []error
	for i := range set.Services {
		s := &set.Services[i]
		for _, text := range s.Models() {
			if why := missing(ctx, store, text); why != nil {
				faults = append(faults, fmt.Errorf("%s: Service %s: %s names %s: %w", s.File, s.Name, manifest.ModelsVariable, text, why))
			}
		}
	}
	return errors.Join(faults...)
}

// models is the store that the models are in.
func (p *platform) models(ctx context.Context) (*artifact.Store, error) {
	store, err := artifact.NewStore(ctx, artifact.Config{
		Bucket: p.state.S3.Bucket, Endpoint: p.state.S3.Endpoint, Region: p.state.S3.Region, PathStyle: p.state.S3.PathStyle,
		AccessKey: p.state.S3.AccessKeyID, SecretKey: p.state.S3.SecretAccessKey,
	})
	if err != nil {
		return nil, fmt.Errorf("look which models are published: %w", err)
	}
	return store, nil
}

// untilThere holds a first start back until the models are there that the function
// pins. Where one is not published, it may be a shipped one that soon is.
func (p *platform) untilThere(ctx context.Context, models []string) error {
	if isClosed(p.published) {
		return nil
	}
	if lacks, err := p.lacks(ctx, models); err != nil || !lacks {
		return err
	}
	return p.untilPublished(ctx)
}

// lacks reports whether one of the models that a function pins is not published.
func (p *platform) lacks(ctx context.Context, models []string) (bool, error) {
	store, err := p.models(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(models, func(text string) bool { return missing(ctx, store, text) != nil }), nil
}

// untilPublished returns when the shipped models are there.
func (p *platform) untilPublished(ctx context.Context) error {
	select {
	case <-p.published:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the models: %w", ctx.Err())
	}
}

// missing is why a function would not find what it names.
func missing(ctx context.Context, store *artifact.Store, text string) error {
	if text == manifest.AllModels {
		return nil
	}
	ref, err := model.ParsePinned(text)
	if err != nil {
		return fmt.Errorf("expected %s or name@version: %w", manifest.AllModels, err)
	}
	versions, err := store.Versions(ctx, ref.Name)
	switch {
	case problem.CodeOf(err) == problem.ModelNotFound:
		return fmt.Errorf("%w; `modelserve models push %s FILE.onnx` publishes it", err, ref.Name)
	case err != nil:
		return err //nolint:wrapcheck // it says what was asked
	case !slices.Contains(versions, ref.Version):
		return fmt.Errorf("that version is not published; the newest is %d", versions[0])
	}
	return nil
}
