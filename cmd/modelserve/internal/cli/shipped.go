package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/publish"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// shipped is a model that comes with the platform: what `make deps` fetched,
// a shape that its function will run it with, the bounds on what a client that
// calls it without the function may ask, and how long it is measured. `make
// run` waits for all of them once.
type shipped struct {
	name, file string
	shapes     map[string][]int64
	bounds     publish.Bounds
	measure    time.Duration
}

// maxRows bounds the lines or files in one request; the functions join 6.
const maxRows = 64

// shippedModels are bounded so that no run takes more memory than the largest
// that the model's own function makes, about 0.9 GB (an image of text-detect).
func shippedModels() []shipped {
	return []shipped{
		{
			"text-detect", "PP-OCRv6_det_small.onnx",
			map[string][]int64{"x": {1, 3, 736, 736}},
			publish.Bounds{
				MaxElements: 3 * 6 << 20, // 6 megapixels; what the function shrinks images to is up to 5.5
				// Below the network's stride of 32 a pixel costs as much as 1024.
				MinShapes: map[string][]int64{"x": {infer.Dynamic, 3, 32, 32}},
				MaxShapes: map[string][]int64{"x": {maxRows, 3, infer.Dynamic, infer.Dynamic}},
			},
			1200 * time.Millisecond,
		},
		{
			"text-orient", "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
			map[string][]int64{"x": {1, 3, 48, 192}},
			publish.Bounds{
				MaxElements: maxRows * 3 * 48 * 192,
				MinShapes:   map[string][]int64{"x": {infer.Dynamic, 3, 32, 32}},
				MaxShapes:   map[string][]int64{"x": {maxRows, 3, infer.Dynamic, infer.Dynamic}},
			},
			800 * time.Millisecond,
		},
		{
			"text-recognize", "PP-OCRv6_rec_small.onnx",
			map[string][]int64{"x": {1, 3, 48, 320}},
			publish.Bounds{
				MaxElements: 3 * 48 * 9600, // the longest line; its answer is 90 MB
				MaxShapes:   map[string][]int64{"x": {maxRows, 3, 48, infer.Dynamic}},
			},
			2500 * time.Millisecond,
		},
		{
			"speech-detect", "silero_vad_16k_sequence.onnx",
			map[string][]int64{"input": {128, 576}},
			publish.Bounds{MaxElements: 1024 * 576}, // half a minute in windows of 32 ms
			500 * time.Millisecond,
		},
		{
			"content-detect", "model.onnx",
			map[string][]int64{"bytes": {1, 2048}},
			publish.Bounds{MaxElements: maxRows * 2048},
			1200 * time.Millisecond,
		},
	}
}

func (a *app) pushShippedCommand() *cobra.Command {
	var deps string
	cmd := &cobra.Command{
		Use:   "publish-shipped",
		Short: "Publish the models of the shipped functions, as version 1",
		Long: "Publish the five models that `make deps` fetched, each as version 1. What is there already stays as it is.\n" +
			"Where no platform has run yet, its store is made here, in " + stateDir + ".",
		Example: "  modelserve models publish-shipped --deps .deps",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.prepareStore(); err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(s *store) error {
				return a.pushShipped(cmd.Context(), s, filepath.Join(a.abs(deps), "models"))
			})
		},
	}
	cmd.Flags().StringVar(&deps, "deps", ".deps", "the `folder` that make deps fills")
	return cmd
}

func (a *app) pushShipped(ctx context.Context, s *store, dir string) error {
	rows := []pushed{}
	var faults []error
	for _, m := range shippedModels() {
		file := filepath.Join(dir, m.name, m.file)
		done, err := a.push(ctx, s, publish.Request{
			Name: m.name, Version: 1, File: file, Shapes: m.shapes, Bounds: m.bounds, Measure: m.measure,
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, artifact.ErrDeleted):
			rows = append(rows, pushed{Name: m.name, Version: 1, Notes: []string{
				"deleted, and never published again: publish " + m.file + " as the next version, and name that in config/",
			}})
			continue
		case err != nil:
			faults = append(faults, fmt.Errorf("%w; `make deps` fetches what is shipped", err))
			continue
		}
		rows = append(rows, pushed{
			Name: m.name, Version: done.Ref.Version, Digest: done.Digest, Unchanged: done.Unchanged, Notes: done.Notes,
		})
	}
	if len(rows) == 0 {
		return errors.Join(faults...)
	}
	err := a.print(map[string]any{"models": rows}, func() string {
		t := table{head: []string{"MODEL", "DIGEST", ""}}
		for _, r := range rows {
			state := "published"
			switch {
			case r.Unchanged:
				state = strings.Join(append([]string{"unchanged"}, r.Notes...), ": ")
			case r.Digest == "":
				state = strings.Join(r.Notes, ": ")
			}
			t.add(fmt.Sprintf("%s@%d", r.Name, r.Version), shortDigest(r.Digest), state)
		}
		return t.String()
	})
	return errors.Join(append(faults, err)...)
}

// prepareStore makes the local platform's store where there is none yet and
// no variable names another store.
func (a *app) prepareStore() error {
	_, given, err := a.storeVariables()
	if err != nil || given || firstOf(a.server, a.vars.Server) != "" {
		return err
	}
	p, err := a.findPlatform()
	if err != nil || p.dir != "" {
		return err
	}
	return local.Prepare(firstOf(a.dataDir(), filepath.Join(a.Dir, stateDir)))
}
