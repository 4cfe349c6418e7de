package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// auditEntry is an entry of the audit log as the control API answers it.
type auditEntry struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Tenant    string    `json:"tenant"`
	Actor     string    `json:"actor"`
	Action    string    `json:"action"`
	Resource  string    `json:"resource"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason"`
	RequestID string    `json:"request_id"`
	Address   string    `json:"address"`
	Count     int64     `json:"count"`
	Previous  string    `json:"previous"`
	Hash      string    `json:"hash"`
}

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Read and verify the log of who changed what, and who was refused",
		a.auditListCommand(), a.auditVerifyCommand(), a.auditExportCommand())
}

// chainFlags are which chain is meant, and its entries of when.
type chainFlags struct {
	tenant   string
	platform bool
	from, to string
}

func (f *chainFlags) chain(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "whose chain (your own key's tenant); that of another is for admins")
	cmd.Flags().BoolVar(&f.platform, "platform", false, "the platform's own chain, which is for admins")
}

func (f *chainFlags) span(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "entries from this RFC 3339 `time` on")
	cmd.Flags().StringVar(&f.to, "to", "", "entries before this RFC 3339 `time`")
}

func (f *chainFlags) query() (url.Values, error) {
	query := url.Values{}
	if f.tenant != "" && f.platform {
		return nil, usagef("--tenant and --platform exclude each other")
	}
	if f.platform {
		query.Set("platform", "true")
	}
	if f.tenant != "" {
		query.Set("tenant", f.tenant)
	}
	for _, flag := range []struct{ name, text string }{{"from", f.from}, {"to", f.to}} {
		if flag.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, flag.text)
		if err != nil {
			return nil, usagef("--%s: expected a time such as 2030-01-31T00:00:00Z, got %q", flag.name, flag.text)
		}
		query.Set(flag.name, t.UTC().Format(time.RFC3339Nano))
	}
	return query, nil
}

func (a *app) auditListCommand() *cobra.Command {
	var (
		of      chainFlags
		limit   int
		filters [4]string
	)
	names := [4]string{"actor", "action", "resource", "outcome"}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries of the audit log, newest first",
		Example: `  modelserve audit list
  modelserve audit list --action key.create --from 2030-01-01T00:00:00Z
  modelserve audit list --outcome refused --platform --limit 200`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := of.query()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit: expected 1 or more, or 0 for all, got %d", limit)
			}
			for i, name := range names {
				if filters[i] != "" {
					query.Set(name, filters[i])
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[auditEntry](cmd.Context(), c, "/v1/audit", "entries", query, limit)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"entries": all}, func() string { return auditTable(all) })
		},
	}
	of.chain(cmd)
	of.span(cmd)
	cmd.Flags().StringVar(&filters[0], "actor", "", "by whom: key:ID, subject:'ISSUER SUBJECT', platform or gateway")
	cmd.Flags().StringVar(&filters[1], "action", "", "what was done, such as key.create")
	cmd.Flags().StringVar(&filters[2], "resource", "", "to what, such as key:ID")
	cmd.Flags().StringVar(&filters[3], "outcome", "", "done or refused")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

func auditTable(entries []auditEntry) string {
	t := table{head: []string{"SEQ", "AT", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "TIMES", "ADDRESS", "REASON"}}
	for _, e := range entries {
		t.add(strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.DateTime), dash(e.Actor), dash(e.Action), dash(e.Resource), e.Outcome,
			strconv.FormatInt(e.Count, 10), dash(e.Address), visible(e.Reason))
	}
	return t.String()
}

func dash(text string) string { return firstOf(visible(text), "-") }

// visible is text without what would act on a terminal, or on the order of the text around it.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// chainVerdict is whether a chain holds.
type chainVerdict struct {
	Chain    string `json:"chain"`
	Holds    bool   `json:"holds"`
	Entries  int64  `json:"entries"`
	BrokenAt int64  `json:"broken_at,omitempty"`
}

// platformChain is how the platform's own chain is called, and ownChain that of the key's tenant.
const (
	platformChain = "(platform)"
	ownChain      = "(own)"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var (
		of  chainFlags
		all bool
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify that nothing was changed in the audit log or taken out of it",
		Long: `Verify a chain of the audit log: that each entry is as it was written and follows
the one before. Without a flag it is the chain of your key's tenant. It exits 1
when one does not hold.

A chain that was written anew as a whole, or cut off together with its stored
head, still follows: compare its head with those that the gateway logs.`,
		Example: `  modelserve audit verify
  modelserve audit verify --all   # the platform's chain and every tenant's, by an admin`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := of.query()
			if err != nil {
				return err
			}
			if all && len(query) > 0 {
				return usagef("--all goes without --tenant and --platform")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			queries := []url.Values{query}
			if all {
				if queries, err = c.chains(cmd.Context()); err != nil {
					return err
				}
			}
			return a.verify(cmd.Context(), c, queries)
		},
	}
	of.chain(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every chain, which is for admins")
	return cmd
}

// chains asks for every chain.
func (c *client) chains(ctx context.Context) ([]url.Values, error) {
	all, err := pages[struct {
		Tenant   string `json:"tenant"`
		Platform bool   `json:"platform"`
	}](ctx, c, "/v1/audit/chains", "chains", nil, 0)
	if err != nil {
		return nil, err
	}
	queries := make([]url.Values, 0, len(all))
	for _, chain := range all {
		if chain.Platform {
			queries = append(queries, url.Values{"platform": {"true"}})
			continue
		}
		queries = append(queries, url.Values{"tenant": {chain.Tenant}})
	}
	return queries, nil
}

// verify verifies chains, and prints which of them hold.
func (a *app) verify(ctx context.Context, c *client, chains []url.Values) error {
	var verdicts []chainVerdict
	var faults []error
	for _, query := range chains {
		v := chainVerdict{Chain: firstOf(query.Get("tenant"), ownChain)}
		if query.Has("platform") {
			v.Chain = platformChain
		}
		if err := c.call(ctx, http.MethodGet, "/v1/audit/verify?"+query.Encode(), nil, &v); err != nil {
			if len(chains) == 1 || ctx.Err() != nil {
				return err
			}
			faults = append(faults, fmt.Errorf("the chain %s could not be verified: %w", v.Chain, err))
			continue
		}
		if !v.Holds {
			faults = append(faults, fmt.Errorf("the chain %s does not hold: it is broken at entry %d", v.Chain, v.BrokenAt))
		}
		verdicts = append(verdicts, v)
	}
	err := a.print(map[string]any{"chains": verdicts}, func() string {
		t := table{head: []string{"CHAIN", "HOLDS", "ENTRIES", "BROKEN AT"}}
		for _, v := range verdicts {
			holds, at := "yes", ""
			if !v.Holds {
				holds, at = "NO", strconv.FormatInt(v.BrokenAt, 10)
			}
			t.add(v.Chain, holds, strconv.FormatInt(v.Entries, 10), at)
		}
		return t.String()
	})
	return errors.Join(append(faults, err)...)
}

func (a *app) auditExportCommand() *cobra.Command {
	var of chainFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a chain of the audit log as JSON Lines, the oldest entry first",
		Example: `  modelserve audit export > audit.jsonl
  modelserve audit export --platform --from 2030-01-01T00:00:00Z`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := of.query()
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.stream(cmd.Context(), "/v1/audit/export?"+query.Encode(), a.Out)
		},
	}
	of.chain(cmd)
	of.span(cmd)
	return cmd
}
