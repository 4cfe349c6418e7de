package cli

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// role is a role as the control API answers it.
type role struct {
	Name        string     `json:"name"`
	Tenant      string     `json:"tenant,omitempty"`
	BuiltIn     bool       `json:"built_in,omitempty"`
	Inherits    []string   `json:"inherits"`
	Permissions []string   `json:"permissions"`
	UpdatedAt   *time.Time `json:"updated_at,omitempty"`
}

// whose is who has the role, for people.
func (r *role) whose() string {
	switch {
	case r.BuiltIn:
		return "built in"
	case r.Tenant == "":
		return "every tenant"
	default:
		return r.Tenant
	}
}

func (a *app) rolesCommand() *cobra.Command {
	return group("roles", "Name what keys may do, as roles",
		a.rolesListCommand(), a.rolesShowCommand(), a.rolesPutCommand(), a.rolesDeleteCommand())
}

func (a *app) rolesListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the roles that there are, by name",
		Example: "  modelserve roles list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[role](cmd.Context(), c, "/v1/roles", "roles", nil, 0)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"roles": all}, func() string { return roleTable(all...) })
		},
	}
}

func roleTable(roles ...role) string {
	t := table{head: []string{"NAME", "OF", "INHERITS", "PERMISSIONS"}}
	for _, r := range roles {
		t.add(r.Name, r.whose(), commas(r.Inherits), commas(r.Permissions))
	}
	return t.String()
}

func (a *app) rolesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a role",
		Example: "  modelserve roles show deployer",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.role(cmd, http.MethodGet, args[0], nil)
		},
	}
}

// role calls a role's URL, and prints the role.
func (a *app) role(cmd *cobra.Command, method, name string, body any) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var r role
	if err := c.call(cmd.Context(), method, "/v1/roles/"+url.PathEscape(name), body, &r); err != nil {
		return err
	}
	return a.print(r, func() string { return roleTable(r) })
}

func (a *app) rolesPutCommand() *cobra.Command {
	var ask struct {
		Inherits    []string `json:"inherits"`
		Permissions []string `json:"permissions"`
	}
	cmd := &cobra.Command{
		Use:   "put NAME [--permission PERMISSION]… [--inherit ROLE]…",
		Short: "Make a role, or replace all that it has",
		Long: `Make a role, or replace all that it has. A role that an admin makes is every
tenant's, others are of your tenant. You cannot put into a role what you do not
hold yourself, without what others granted you.`,
		Example: `  modelserve roles put caller --permission 'infer:text-*' --inherit viewer
  modelserve roles put nothing`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.role(cmd, http.MethodPut, args[0], ask)
		},
	}
	cmd.Flags().StringArrayVar(&ask.Permissions, "permission", []string{}, "what it may do (repeatable)")
	cmd.Flags().StringArrayVar(&ask.Inherits, "inherit", []string{}, "a role whose permissions it has too (repeatable)")
	return cmd
}

func (a *app) rolesDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME…",
		Short:   "Delete roles that nobody holds",
		Example: "  modelserve roles delete caller",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteAll(cmd, "/v1/roles/", args)
		},
	}
}

// deleteAll deletes objects below a URL, up to the first that fails.
func (a *app) deleteAll(cmd *cobra.Command, below string, names []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := c.call(cmd.Context(), http.MethodDelete, below+url.PathEscape(name), nil, nil); err != nil {
			if i > 0 {
				a.notef("note: deleted %s", strings.Join(names[:i], ", "))
			}
			return err
		}
	}
	return a.print(map[string]any{"deleted": names}, func() string { return "deleted " + strings.Join(names, ", ") + "\n" })
}
