package cli

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) accessCommand() *cobra.Command {
	return group("access", "See who may do what", a.accessExplainCommand())
}

func (a *app) accessExplainCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "explain ACTION [RESOURCE]",
		Short: "Explain whether something is allowed, and why",
		Long: `Explain whether your key, or the one that --for names, may do something: by which
scopes, roles and grants, or else what comes near and why it does not count.

ACTION is infer, with the name of a model or function; run, with that of a
pipeline; or a permission such as models:write. With models:read a name of a
model may stand, too.`,
		Example: `  modelserve access explain infer churn
  modelserve access explain keys:admin --for k7x2m4`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			query := url.Values{"action": {args[0]}}
			if len(args) > 1 {
				query.Set("resource", args[1])
			}
			if key != "" {
				query.Set("key", idOf(key))
			}
			var answer struct {
				Allowed bool     `json:"allowed"`
				Because []string `json:"because"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/access?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			return a.print(answer, func() string {
				verdict := "denied"
				if answer.Allowed {
					verdict = "allowed"
				}
				return visible(verdict+": "+strings.Join(answer.Because, " ")) + "\n"
			})
		},
	}
	cmd.Flags().StringVar(&key, "for", "", "the `id` of the key that is asked about (your own)")
	return cmd
}
