package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// apiKey is a key as the control API answers it.
type apiKey struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Tenant      string     `json:"tenant"`
	Scopes      []string   `json:"scopes"`
	Roles       []string   `json:"roles"`
	Status      string     `json:"status"`
	Replaces    string     `json:"replaces,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt  *time.Time `json:"last_used_at,omitempty"`

	Key string `json:"key,omitempty"` // only in the answer that made it
}

// newKey asks for a key.
type newKey struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Scopes      []string `json:"scopes,omitempty"`
	Tenant      string   `json:"tenant,omitempty"`
	Roles       []string `json:"roles,omitempty"`

	ending
}

func (a *app) keysCommand() *cobra.Command {
	return group("keys", "Make, list, rotate and revoke the keys that may call the platform",
		a.keysCreateCommand(), a.keysListCommand(), a.keysRotateCommand(), a.keysRevokeCommand())
}

func (a *app) keysCreateCommand() *cobra.Command {
	var ask newKey
	cmd := &cobra.Command{
		Use:   "create NAME {--scope SCOPE | --role ROLE}…",
		Short: "Make a key and show it, this once",
		Long: `Make a key and show it. The platform keeps only a hash of it, so it cannot be
shown again.

Scopes: infer:* and infer:MODEL call models (a name may end in *), run:* and
run:PIPELINE start pipelines; models:read, models:write, pipelines:read,
pipelines:write, executions:read, executions:write, events:send, schedules:write,
webhooks:write, usage:read and audit:read as they say, write with read;
keys:admin manages keys, roles:admin roles and grants, admin is all of it.
Roles: viewer, invoker, deployer, auditor, admin, and those of ` + "`modelserve roles list`" + `.
A key cannot give what it lacks itself, nor for longer than it lasts: with a key
that ends --expires-in sets an end that is not later.`,
		Example: `  modelserve keys create ci --scope infer:churn --scope models:read
  modelserve keys create deploy --role deployer --description 'the pipeline of team a'
  modelserve keys create visitor --scope 'infer:*' --expires-in 24h`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Name = args[0]
			if len(ask.Scopes)+len(ask.Roles) == 0 {
				return usagef("--scope: name at least one, such as --scope 'infer:*', or a --role")
			}
			if err := ask.set(cmd); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var key apiKey
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/keys", ask, &key); err != nil {
				return ask.refused(err)
			}
			return a.print(key, key.shownOnce)
		},
	}
	cmd.Flags().StringArrayVar(&ask.Scopes, "scope", nil, "what it may do (repeatable)")
	cmd.Flags().StringArrayVar(&ask.Roles, "role", nil, "a role it has (repeatable)")
	cmd.Flags().StringVar(&ask.Tenant, "tenant", "", "whose it is (your own key's tenant)")
	cmd.Flags().StringVar(&ask.Description, "description", "", "what it is for")
	ask.flags(cmd)
	return cmd
}

// shownOnce is what people get of a key that was made.
func (k *apiKey) shownOnce() string {
	return k.Key + "\n\nThis is the only time it is shown. Its id is " + k.ID + "; " +
		"`modelserve keys revoke " + k.ID + "` ends it.\n"
}

func (a *app) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the keys, newest first",
		Example: "  modelserve keys list -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.keys(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"keys": all}, func() string { return keyTable(all) })
		},
	}
}

// keys lists every key that may be seen, newest first.
func (c *client) keys(ctx context.Context) ([]apiKey, error) {
	return pages[apiKey](ctx, c, "/v1/keys", "keys", nil, 0)
}

// idOf is the id in a whole key that was given in its place: the rest is a
// secret, which has no place in a URL.
func idOf(given string) string {
	if key, err := auth.ParseKey(given); err == nil {
		return key.ID
	}
	return given
}

// revoke ends the key of an id, or else the active one of a name, and returns
// its id. rotations also ends what it was rotated from and to.
func (c *client) revoke(ctx context.Context, given string, rotations bool) (id string, err error) {
	idOrName := idOf(given)
	end := func(id string) error {
		path := "/v1/keys/" + url.PathEscape(id)
		if rotations {
			path += "?rotations=true"
		}
		return c.call(ctx, http.MethodDelete, path, nil, nil)
	}
	err = end(idOrName)
	if code := problem.CodeOf(err); err == nil || code != problem.NotFound && code != problem.InvalidArgument {
		return idOrName, err
	}
	all, listErr := c.keys(ctx)
	if listErr != nil {
		return "", err // it is no id, and who may not list has nothing but ids
	}
	var ids []string
	for _, k := range all {
		if k.Name == idOrName && k.Status == "active" {
			ids = append(ids, k.ID)
		}
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("%w, and no active key has the name %q; `modelserve keys list` shows which there are", err, idOrName)
	case 1:
		return ids[0], end(ids[0])
	default:
		return "", fmt.Errorf("%d active keys have the name %q: name the one to end by its id (%s)", len(ids), idOrName, strings.Join(ids, ", "))
	}
}

func keyTable(keys []apiKey) string {
	t := table{head: []string{"ID", "NAME", "TENANT", "SCOPES", "ROLES", "STATUS", "CREATED", "EXPIRES", "LAST USED"}}
	for _, k := range keys {
		t.add(k.ID, k.Name, k.Tenant, commas(k.Scopes), commas(k.Roles), k.Status,
			k.CreatedAt.UTC().Format(time.DateTime), timeOr(k.ExpiresAt, "never"), timeOr(k.LastUsedAt, "never"))
	}
	return t.String()
}

func (a *app) keysRevokeCommand() *cobra.Command {
	var rotations bool
	cmd := &cobra.Command{
		Use:   "revoke {ID | NAME}…",
		Short: "End keys now",
		Long: `End keys, by their ids or by names that only one active key has. Calls with them
are refused within two seconds. Revoking an id twice is no error. One that is not
to be found does not keep the others.`,
		Example: `  modelserve keys revoke k7x2m4
  modelserve keys revoke ci
  modelserve keys revoke k7x2m4 --rotations`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var ids []string
			var faults []error
			for _, arg := range args {
				id, err := c.revoke(cmd.Context(), arg, rotations)
				if err != nil {
					faults = append(faults, fmt.Errorf("%s: %w", idOf(arg), err))
					continue
				}
				ids = append(ids, id)
			}
			if err := errors.Join(faults...); err != nil {
				if len(ids) > 0 {
					a.notef("note: revoked %s", strings.Join(ids, ", "))
				}
				return err
			}
			return a.print(map[string]any{"revoked": ids}, func() string {
				return "revoked " + strings.Join(ids, ", ") + "\n"
			})
		},
	}
	cmd.Flags().BoolVar(&rotations, "rotations", false, "also end every key that it was rotated from and to")
	return cmd
}
