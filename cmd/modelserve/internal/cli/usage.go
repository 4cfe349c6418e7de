package cli

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// usageSum is a row of usage as the control API answers it, which lacks the names of what
// it is a sum over.
type usageSum struct {
	Tenant    string  `json:"tenant,omitempty"`
	Model     *string `json:"model,omitempty"` // "" is of calls that came to none
	Day       string  `json:"day,omitempty"`
	Requests  int64   `json:"requests"`
	Errors    int64   `json:"errors"`
	Rows      int64   `json:"rows"`
	ComputeMS float64 `json:"compute_ms"`
	BytesIn   int64   `json:"bytes_in"`
	BytesOut  int64   `json:"bytes_out"`
}

func (a *app) usageCommand() *cobra.Command {
	var from, to, tenant string
	by := []string{"tenant", "model", "day"}
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Show how much was used, by tenant, model and day",
		Long: `Show how much your key's tenant used, or every tenant where the key is an admin's:
requests, those of them that failed, rows, the compute of models' runs, and bytes
of requests and answers. Requests that were refused for who makes them or for how
much they have (401, 403 and 429) are not counted; of streams, messages are.

A day is one in UTC. The newest days stand first, and what was called last is
there within two seconds.`,
		Example: `  modelserve usage                                         # of this month
  modelserve usage --by model --from 2030-01-01 --to 2030-02-01
  modelserve usage --by tenant -o json                     # of every tenant, by an admin`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"by": {strings.Join(by, ",")}}
			if !isBy(by) {
				return usagef("--by: expected tenant, model and day, or some of them, each once, got %q", strings.Join(by, ","))
			}
			for _, flag := range []struct{ name, text string }{{"from", from}, {"to", to}} {
				if flag.text == "" {
					continue
				}
				if !isWhen(flag.text) {
					return usagef("--%s: expected a day such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z, got %q", flag.name, flag.text)
				}
				query.Set(flag.name, flag.text)
			}
			if tenant != "" {
				query.Set("tenant", tenant)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[usageSum](cmd.Context(), c, "/v1/usage", "usage", query, 0)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"usage": all}, func() string { return usageTable(all, by) })
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "usage from this `day` or RFC 3339 time on (the first of the month)")
	cmd.Flags().StringVar(&to, "to", "", "usage of days that begin before this `day` or RFC 3339 time (today too)")
	cmd.Flags().StringSliceVar(&by, "by", by, "what is summed for itself: `tenant, model or day`, or several with commas")
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose usage (your own key's tenant, or all of an admin); that of another is for admins")
	return cmd
}

// isBy reports whether usage can be summed by names.
func isBy(names []string) bool {
	for i, name := range names {
		if !slices.Contains([]string{"tenant", "model", "day"}, name) || slices.Contains(names[:i], name) {
			return false
		}
	}
	return len(names) > 0
}

// isWhen reports whether a text is a day or a time.
func isWhen(text string) bool {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	return false
}

// usageTable has a column for each name that rows are by.
func usageTable(all []usageSum, by []string) string {
	var t table
	names := []string{"day", "tenant", "model"}
	for _, name := range names {
		if slices.Contains(by, name) {
			t.head = append(t.head, strings.ToUpper(name))
		}
	}
	t.head = append(t.head, "REQUESTS", "ERRORS", "ROWS", "COMPUTE", "IN", "OUT")
	for _, row := range all {
		var cells []string
		model := ""
		if row.Model != nil {
			model = *row.Model
		}
		for i, text := range []string{row.Day, row.Tenant, model} {
			if slices.Contains(by, names[i]) {
				cells = append(cells, dash(text))
			}
		}
		t.add(append(cells, strconv.FormatInt(row.Requests, 10), strconv.FormatInt(row.Errors, 10), strconv.FormatInt(row.Rows, 10),
			fmt.Sprintf("%.3f s", row.ComputeMS/1000), size(row.BytesIn), size(row.BytesOut))...)
	}
	return t.String()
}
