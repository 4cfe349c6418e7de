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
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Tenant    string     `json:"tenant"`
	Scopes    []string   `json:"scopes"`
	Roles     []string   `json:"roles"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`

	Key string `json:"key,omitempty"` // only in the answer that made it
}

// newKey asks for a key.
type newKey struct {
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Tenant    string     `json:"tenant,omitempty"`
	Roles     []string   `json:"roles,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	ExpiresIn string     `json:"expires_in,omitempty"`
}

func (a *app) keysCommand() *cobra.Command {
	return group("keys", "Make, list and revoke the keys that may call the platform",
		a.keysCreateCommand(), a.keysListCommand(), a.keysRevokeCommand())
}

func (a *app) keysCreateCommand() *cobra.Command {
	var (
		ask       newKey
		expiresIn time.Duration
		expiresAt string
	)
	cmd := &cobra.Command{
		Use:   "create NAME --scope SCOPE",
		Short: "Make a key and show it, this once",
		Long: `Make a key and show it. The platform keeps only a hash of it, so it cannot be
shown again.

Scopes: infer:* and infer:MODEL call models, models:read reads about all of
them, models:write also loads and unloads, keys:admin manages keys, admin is
all of it. A key cannot give a scope that it lacks itself.`,
		Example: `  modelserve keys create ci --scope infer:churn --scope models:read
  modelserve keys create visitor --scope 'infer:*' --expires-in 24h`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ask.Name = args[0]
			if len(ask.Scopes) == 0 {
				return usagef("--scope: name at least one, such as --scope 'infer:*'")
			}
			if err := ask.expire(cmd.Flags().Changed("expires-in"), expiresIn, expiresAt); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var key apiKey
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/keys", ask, &key); err != nil {
				return err
			}
			return a.print(key, func() string {
				return key.Key + "\n\nThis is the only time it is shown. Its id is " + key.ID + "; " +
					"`modelserve keys revoke " + key.ID + "` ends it.\n"
			})
		},
	}
	cmd.Flags().StringArrayVar(&ask.Scopes, "scope", nil, "what it may do (repeatable, required)")
	cmd.Flags().StringArrayVar(&ask.Roles, "role", nil, "a role it has (repeatable)")
	cmd.Flags().StringVar(&ask.Tenant, "tenant", "", "whose it is (your own key's tenant)")
	cmd.Flags().DurationVar(&expiresIn, "expires-in", 0, "how long it lasts, such as 720h (for ever)")
	cmd.Flags().StringVar(&expiresAt, "expires-at", "", "when it ends, as an RFC 3339 `time`")
	return cmd
}

// expire checks the two flags that set when a key ends. within is whether the
// first is given.
func (k *newKey) expire(within bool, in time.Duration, at string) error {
	switch {
	case within && at != "":
		return usagef("--expires-in and --expires-at exclude each other")
	case within && in < time.Second:
		return usagef("--expires-in: expected a second or more, such as 720h, got %s; leave it out for a key that never ends", in)
	case within:
		k.ExpiresIn = in.String()
	case at != "":
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return usagef("--expires-at: expected a time such as 2030-01-31T00:00:00Z, got %q", at)
		}
		t = t.UTC()
		k.ExpiresAt = &t
	}
	return nil
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
	all := []apiKey{}
	for cursor := ""; ; {
		var page struct {
			Keys []apiKey `json:"keys"`
			Next string   `json:"next_cursor"`
		}
		query := url.Values{"limit": {"200"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := c.call(ctx, http.MethodGet, "/v1/keys?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Keys...)
		if page.Next == "" || page.Next == cursor {
			return all, nil
		}
		cursor = page.Next
	}
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
// its id.
func (c *client) revoke(ctx context.Context, given string) (id string, err error) {
	idOrName := idOf(given)
	end := func(id string) error {
		return c.call(ctx, http.MethodDelete, "/v1/keys/"+url.PathEscape(id), nil, nil)
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
	t := table{head: []string{"ID", "NAME", "TENANT", "SCOPES", "STATUS", "CREATED", "EXPIRES"}}
	for _, k := range keys {
		expires := "never"
		if k.ExpiresAt != nil {
			expires = k.ExpiresAt.UTC().Format(time.DateTime)
		}
		t.add(k.ID, k.Name, k.Tenant, strings.Join(k.Scopes, ","), k.Status, k.CreatedAt.UTC().Format(time.DateTime), expires)
	}
	return t.String()
}

func (a *app) keysRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke {ID | NAME}…",
		Short: "End keys now",
		Long: `End keys, by their ids or by names that only one active key has. Calls with them
are refused within two seconds. Revoking an id twice is no error. One that is not
to be found does not keep the others.`,
		Example: `  modelserve keys revoke k7x2m4
  modelserve keys revoke ci`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var ids []string
			var faults []error
			for _, arg := range args {
				id, err := c.revoke(cmd.Context(), arg)
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
}
