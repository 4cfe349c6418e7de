package cli

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// recipient is who gets a grant.
type recipient struct {
	Key     string `json:"key,omitempty"`
	Subject string `json:"subject,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
}

// String is the recipient for people.
func (r recipient) String() string {
	switch {
	case r.Key != "":
		return "key:" + r.Key
	case r.Subject != "":
		return "subject:" + r.Subject
	default:
		return "tenant:" + r.Tenant
	}
}

// grant is a grant as the control API answers it.
type grant struct {
	ID          string     `json:"id"`
	Tenant      string     `json:"tenant"`
	To          recipient  `json:"to"`
	By          string     `json:"by"`
	Roles       []string   `json:"roles"`
	Permissions []string   `json:"permissions"`
	Status      string     `json:"status"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
}

// newGrant asks for a grant.
type newGrant struct {
	To          recipient `json:"to"`
	Tenant      string    `json:"tenant,omitempty"`
	Roles       []string  `json:"roles,omitempty"`
	Permissions []string  `json:"permissions,omitempty"`

	ending
}

func (a *app) grantsCommand() *cobra.Command {
	return group("grants", "Give others what you may do, for as long as you may",
		a.grantsCreateCommand(), a.grantsListCommand(), a.grantsDeleteCommand())
}

func (a *app) grantsCreateCommand() *cobra.Command {
	var ask newGrant
	cmd := &cobra.Command{
		Use:   "create {--to-key ID | --to-subject 'ISSUER SUBJECT' | --to-tenant NAME} {--role ROLE | --permission PERMISSION}…",
		Short: "Give a key, a token's subject or a whole tenant what you hold",
		Long: `Give a key, the subject of tokens or everyone of a tenant roles and permissions
that you hold. The grant counts as long as you hold them. A key's grants go on
when it is rotated.`,
		Example: `  modelserve grants create --to-key k7x2m4 --permission infer:churn --expires-in 24h
  modelserve grants create --to-subject 'https://id.example.com alice' --role deployer
  modelserve grants create --to-tenant acme --tenant acme --permission 'infer:text-*'   # by an admin`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := 0
			for _, to := range []string{ask.To.Key, ask.To.Subject, ask.To.Tenant} {
				if to != "" {
					given++
				}
			}
			switch {
			case given != 1:
				return usagef("name who gets it by one of --to-key, --to-subject and --to-tenant")
			case len(ask.Roles)+len(ask.Permissions) == 0:
				return usagef("name what to give by --role or --permission, such as --permission infer:churn")
			}
			if err := ask.set(cmd); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			ask.To.Key = idOf(ask.To.Key)
			var made grant
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/grants", ask, &made); err != nil {
				return ask.refused(err)
			}
			return a.print(made, func() string {
				return "granted to " + made.To.String() + " as " + made.ID + "; `modelserve grants delete " + made.ID + "` ends it\n"
			})
		},
	}
	cmd.Flags().StringVar(&ask.To.Key, "to-key", "", "the `id` of the key that gets it")
	cmd.Flags().StringVar(&ask.To.Subject, "to-subject", "", "the issuer and the `subject` of the tokens that get it, with a space between")
	cmd.Flags().StringVar(&ask.To.Tenant, "to-tenant", "", "the `tenant` of which everyone gets it")
	cmd.Flags().StringVar(&ask.Tenant, "tenant", "", "the tenant of those who get it (your own key's tenant)")
	cmd.Flags().StringArrayVar(&ask.Roles, "role", nil, "a role that it gives (repeatable)")
	cmd.Flags().StringArrayVar(&ask.Permissions, "permission", nil, "a permission that it gives (repeatable)")
	ask.flags(cmd)
	return cmd
}

func (a *app) grantsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the grants, newest first",
		Example: "  modelserve grants list -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[grant](cmd.Context(), c, "/v1/grants", "grants", nil, 0)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"grants": all}, func() string { return grantTable(all) })
		},
	}
}

func grantTable(grants []grant) string {
	t := table{head: []string{"ID", "TENANT", "TO", "BY", "ROLES", "PERMISSIONS", "STATUS", "EXPIRES"}}
	for _, g := range grants {
		t.add(g.ID, g.Tenant, visible(g.To.String()), visible(g.By), commas(g.Roles), commas(g.Permissions), g.Status, timeOr(g.ExpiresAt, "never"))
	}
	return t.String()
}

func (a *app) grantsDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID…",
		Short:   "End grants",
		Example: "  modelserve grants delete a1b2c3d4e5f6",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteAll(cmd, "/v1/grants/", args)
		},
	}
}
