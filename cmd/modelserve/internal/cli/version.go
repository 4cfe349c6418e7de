package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/internal/build"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which build this is",
		Example: "  modelserve version -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			b := build.Read()
			return a.print(b, func() string {
				text := "modelserve " + b.Version
				if b.Revision != "" {
					text += " " + b.Revision
				}
				if b.Modified {
					text += " (modified)"
				}
				return fmt.Sprintf("%s, %s %s\n", text, b.Go, b.Platform)
			})
		},
	}
}
