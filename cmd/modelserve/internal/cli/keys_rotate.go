package cli

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) keysRotateCommand() *cobra.Command {
	overlap := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Replace a key by one with the same rights, and show it, this once",
		Long: `Replace a key by a new one that has the same scopes and roles, and the grants that
it holds and gave. The old one goes on for the overlap, so that whoever uses it
has time to change over. Whoever rotates another's key needs all that it may do,
without grants, and must not end before it would. A key and its rotations are three at most that are
good at once.`,
		Example: `  modelserve keys rotate k7x2m4
  modelserve keys rotate k7x2m4 --overlap 1h
  modelserve keys rotate k7x2m4 --overlap 0s   # the old one ends at once`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return usagef("--overlap: expected 0s or more, such as 24h, got %s", overlap)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var key apiKey
			ask := map[string]string{"overlap": overlap.String()}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/keys/"+url.PathEscape(idOf(args[0]))+"/rotate", ask, &key); err != nil {
				return err
			}
			return a.print(key, key.shownOnce)
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", overlap, "how long the old key goes on, at most 720h")
	return cmd
}
