package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/internal/deps"
	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// depsDir is the folder that make deps fills.
const depsDir = ".deps"

func (a *app) devCommand() *cobra.Command {
	var o local.Options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole platform on this machine",
		Long: `Run the gateway, the functions and the store of a cluster in one process, from
the same manifests. Functions start when they are called and stop when they are
idle. Ctrl-C stops everything; what was published, and the keys, stay in
.modelserve/, or in the folder that --data names. That folder, and what runs, are
looked for here and above, up to the root of the Go module.

In ModelServe's checkout that is what config/overlays/local says, with the shipped
functions and models. In a Go module of your own, which needs ModelServe's, it is
the pool, which serves any model that is pushed, and the function whose manifest is
the module's service.yaml. --functions names more of these.`,
		Example: `  modelserve dev
  modelserve dev --functions examples/function
  modelserve dev --address 127.0.0.1:9090 --data /tmp/modelserve`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = a.Out
			o.Version = build.Version()
			o.DataDir = firstOf(a.dataDir(), a.inModuleOf(stateDir))
			if o.Deps = a.abs(o.Deps); !cmd.Flags().Changed("deps") {
				o.Deps = a.inModuleOf(depsDir)
			}
			for i, folder := range o.Functions {
				if o.Functions[i] = filepath.Clean(a.abs(folder)); !exists(filepath.Join(o.Functions[i], manifest.FunctionFile)) {
					return usagef("--functions: expected the folder of a Go module with a %s, got %q", manifest.FunctionFile, folder)
				}
			}
			if o.Overlay != "" {
				o.Overlay = a.abs(o.Overlay)
			} else if shipped := a.inModuleOf(localOverlay); isDir(shipped) {
				o.Overlay = shipped
			} else if err := a.inModule(cmd.Context(), &o); err != nil {
				return err
			}
			lifecycle.SpareThreads()
			return local.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Address, "address", "127.0.0.1:8080", "where the gateway listens")
	cmd.Flags().StringVar(&o.Overlay, "overlay", "", "the `folder` of the manifests to run (config/overlays/local, where it is there)")
	cmd.Flags().StringArrayVar(&o.Functions, "functions", nil, "a `folder` of a Go module whose service.yaml to run as well (repeatable)")
	cmd.Flags().StringVar(&o.Deps, "deps", depsDir, "the `folder` that make deps fills")
	cmd.Flags().BoolVar(&o.Plain, "plain", false, "print lines only, as when the output is no terminal")
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// inModuleOf is the path of name in the folder of this command or the nearest one
// above, up to the root of its Go module, which has a go.mod: git finds a
// repository in the same way. Where none has it, it is to be in that root, or here
// outside of all modules.
func (a *app) inModuleOf(name string) string {
	here, found := a.abs(""), ""
	for dir := here; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, name)
		if found == "" && exists(path) {
			found = path
		}
		if exists(filepath.Join(dir, "go.mod")) {
			return firstOf(found, path)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(here, name)
		}
	}
}

// inModule fills in what runs in a Go module of the user's own: its function, if
// it has one, the pool as ModelServe's module there has it, and ONNX Runtime.
func (a *app) inModule(ctx context.Context, o *local.Options) (err error) {
	if o.Module, err = deps.ModuleDir(ctx, a.abs("")); err != nil {
		return fmt.Errorf("the Go module here cannot be read: %w", err)
	}
	if o.Module == "" {
		return errors.New("there is no " + localOverlay + " here, and no Go module that needs " + ownModule + ": " +
			"start this in ModelServe's checkout, or in a module whose go.mod requires it; --overlay names other manifests")
	}
	service := a.inModuleOf(manifest.FunctionFile)
	if own := filepath.Dir(service); exists(service) && !slices.ContainsFunc(o.Functions, func(other string) bool { return isSame(own, other) }) {
		o.Functions = append([]string{own}, o.Functions...)
	}
	if o.Library, err = ort.FindLibrary(); err != nil {
		o.Library, err = deps.Library(ctx, a.abs(""), a.Err)
	}
	return err
}

// isSame reports whether two paths lead to the same file or folder, by whatever links.
func isSame(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
