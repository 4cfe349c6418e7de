package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) functionsCommand() *cobra.Command {
	return group("functions", "See the functions of a platform", a.functionsListCommand())
}

func (a *app) functionsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the functions that your key may call: how they stand, where, with which models",
		Example: `  modelserve functions list
  modelserve functions list -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.functions(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"functions": all}, func() string { return functionTable(all) })
		},
	}
}

func functionTable(all []function) string {
	if len(all) == 0 {
		return "There is no function that this key may call. `modelserve deploy NAME` makes one of a published model.\n"
	}
	t := table{head: []string{"NAME", "STATE", "MODELS", "URL", ""}}
	for _, f := range all {
		models := strings.Join(f.Models, ",")
		switch {
		case f.Pool:
			models = "every published one"
		case len(f.Mixed) > 0:
			models = strings.TrimPrefix(models+", in part "+strings.Join(f.Mixed, ","), ", ")
		}
		t.add(f.Name, firstOf(string(f.State), "-"), firstOf(models, "-"), firstOf(f.URL, "-"), f.Reason)
	}
	return t.String()
}
