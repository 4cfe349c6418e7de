package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/runtime/ort"
)

func (a *app) devCommand() *cobra.Command {
	var o local.Options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole platform on this machine",
		Long: `Run the gateway, the functions and the store of a cluster in one process, from
the same manifests. Functions start when they are called and stop when they are
idle. Ctrl-C stops everything; what was published, and the keys, stay in
.modelserve/, or in the folder that --data names.

In ModelServe's checkout that is what config/overlays/local says, with the shipped
functions and models. In a Go module of your own, which needs ModelServe's, it is
the pool, which serves any model that is pushed, and the function whose manifest is
service.yaml in that folder. --functions names more of these.`,
		Example: `  modelserve dev
  modelserve dev --functions examples/function
  modelserve dev --address 127.0.0.1:9090 --data /tmp/modelserve`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = a.Out
			o.Version = build.Version()
			o.DataDir = a.abs(firstOf(a.dataDir(), stateDir))
			o.Deps = a.abs(o.Deps)
			for i, folder := range o.Functions {
				if o.Functions[i] = filepath.Clean(a.abs(folder)); !exists(filepath.Join(o.Functions[i], manifest.FunctionFile)) {
					return usagef("--functions: expected the folder of a Go module with a %s, got %q", manifest.FunctionFile, folder)
				}
			}
			if o.Overlay == "" && isDir(a.abs(localOverlay)) {
				o.Overlay = localOverlay
			}
			if o.Overlay != "" {
				o.Overlay = a.abs(o.Overlay)
			} else if err := a.inModule(cmd.Context(), &o); err != nil {
				return err
			}
			return local.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Address, "address", "127.0.0.1:8080", "where the gateway listens")
	cmd.Flags().StringVar(&o.Overlay, "overlay", "", "the `folder` of the manifests to run (config/overlays/local, where it is there)")
	cmd.Flags().StringArrayVar(&o.Functions, "functions", nil, "a `folder` of a Go module whose service.yaml to run as well (repeatable)")
	cmd.Flags().StringVar(&o.Deps, "deps", ".deps", "the `folder` that make deps fills")
	cmd.Flags().BoolVar(&o.Plain, "plain", false, "print lines only, as when the output is no terminal")
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// inModule fills in what runs in a Go module of the user's own: its function, if
// it has one, the pool as ModelServe's module there has it, and ONNX Runtime.
func (a *app) inModule(ctx context.Context, o *local.Options) (err error) {
	if o.Module = deps.ModuleDir(ctx, a.abs("")); o.Module == "" {
		return errors.New("there is no " + localOverlay + " here, and no Go module that needs " + ownModule + ": " +
			"start this in ModelServe's checkout, or in a module whose go.mod requires it; --overlay names other manifests")
	}
	if own := a.abs(""); exists(filepath.Join(own, manifest.FunctionFile)) && !slices.Contains(o.Functions, own) {
		o.Functions = append([]string{own}, o.Functions...)
	}
	if o.Library, err = ort.FindLibrary(); err != nil {
		o.Library, err = deps.Library(ctx, a.abs(""), a.Err)
	}
	return err
}
