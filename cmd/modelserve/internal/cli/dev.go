package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/internal/build"
	"github.com/modelserveai/modelserve/local"
)

func (a *app) devCommand() *cobra.Command {
	var o local.Options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole platform on this machine",
		Long: `Run the gateway, the functions and the store of a cluster in one process, from
the same manifests. Functions start when they are called and stop when they are
idle. Ctrl-C stops everything; what was published, and the keys, stay in
.modelserve/, or in the folder that --data names.`,
		Example: `  modelserve dev
  modelserve dev --address 127.0.0.1:9090 --data /tmp/modelserve`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = a.Out
			o.Version = build.Version()
			o.DataDir = firstOf(a.dataDir(), stateDir)
			for _, path := range []*string{&o.DataDir, &o.Overlay, &o.Deps} {
				*path = a.abs(*path)
			}
			return local.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Address, "address", "127.0.0.1:8080", "where the gateway listens")
	cmd.Flags().StringVar(&o.Overlay, "overlay", filepath.Join("config", "overlays", "local"), "the manifests to run")
	cmd.Flags().StringVar(&o.Deps, "deps", ".deps", "the `folder` that make deps fills")
	cmd.Flags().BoolVar(&o.Plain, "plain", false, "print lines only, as when the output is no terminal")
	return cmd
}
