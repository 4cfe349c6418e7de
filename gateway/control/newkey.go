package control

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/problem"
)

// NewKey is the body of POST /v1/keys.
type NewKey struct {
	Name        string            `json:"name" minLength:"1" maxLength:"100" doc:"printable characters, none of Unicode's categories Cc, Cf, Zl and Zp; at least one that is seen"`
	Description string            `json:"description,omitempty" maxLength:"500" doc:"printable characters: none of Unicode's categories Cc, Cf, Zl and Zp"`
	Tenant      string            `json:"tenant,omitempty" pattern:"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$" doc:"a DNS label (a-z, 0-9 and -, at most 63); the caller's own where it is left out, null or empty"`
	Scopes      []auth.Permission `json:"scopes,omitempty" maxItems:"100" uniqueItems:"true" doc:"at least one, or a role"`
	Roles       []string          `json:"roles,omitempty" maxItems:"20" uniqueItems:"true" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" doc:"at least one, or a scope"`

	End
}

// End is when what is made ends, of bodies.
type End struct {
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"a time to come, such as 2027-01-31T12:00:00Z, at most ten years ahead"`
	ExpiresIn string     `json:"expires_in,omitempty" pattern:"^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*$" doc:"a duration such as 720h, at least 1s and at most 87600h (ten years); not with expires_at; null or empty where it is left out"`
}

// How long something may be good for. Without an end it is good until it is ended.
const (
	shortestLife = time.Second
	longestLife  = 10 * 365 * 24 * time.Hour
)

// at is the end, as a time; zero is none.
func (e *End) at(now time.Time) (time.Time, error) {
	if e.ExpiresIn != "" {
		life, err := time.ParseDuration(e.ExpiresIn)
		if err != nil || life < shortestLife || life > longestLife {
			return time.Time{}, problem.Invalid("expires_in", "expected a duration such as 720h, at least %s and at most %s", gatewayfile.Written(shortestLife), gatewayfile.Written(longestLife))
		}
		return now.Add(life), nil
	}
	at := e.ExpiresAt
	switch {
	case at == nil:
		return time.Time{}, nil
	case !at.Truncate(time.Millisecond).After(now) || at.After(now.Add(longestLife)): // the zero time would be without an end
		return time.Time{}, problem.Invalid("expires_at", "expected a time to come, such as 2027-01-31T12:00:00Z, at most ten years ahead")
	}
	return *at, nil
}

func (n *NewKey) spec(caller *auth.Principal, now time.Time) (spec auth.KeySpec, err error) {
	spec = auth.KeySpec{Name: n.Name, Description: n.Description, Tenant: n.Tenant, Scopes: n.Scopes, Roles: n.Roles}
	if spec.Tenant == "" {
		spec.Tenant = caller.Tenant
	}
	spec.ExpiresAt, err = n.at(now)
	return spec, err
}

// TransformSchema adds what tags cannot express.
func (NewKey) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	controls := classOf(auth.Controls()...)
	name, description := s.Properties["name"], s.Properties["description"]
	name.Pattern = "[^" + classOf(auth.Unseen()...) + controls + "]"
	name.Not = &huma.Schema{Pattern: "[" + controls + "]"}
	description.Not = &huma.Schema{Pattern: "[" + controls + "]"}
	describeItems(s, "scopes", "roles")
	s.Extensions = keywords{"allOf": []any{oneEnd(), someOf("roles", "scopes")}}
	return s
}

// describeItems completes the items of a list of permissions and of one of roles.
func describeItems(s *huma.Schema, permissions, roles string) {
	s.Properties[permissions].Items.Pattern = auth.PermissionPattern
	s.Properties[permissions].Items.Description = "one of " + auth.PermissionsHelp
	s.Properties[roles].Items.Description = "a DNS label (a-z, 0-9 and -, at most 63)"
}

// oneEnd is that not both of an end's fields are set.
func oneEnd() keywords {
	return keywords{
		"if":   keywords{"required": []string{"expires_at"}, "properties": keywords{"expires_at": keywords{"type": "string"}}},
		"then": keywords{"properties": keywords{"expires_in": keywords{"pattern": "^$", "description": "only one of expires_in and expires_at"}}},
	}
}

// someOf is that one list or the other has something.
func someOf(first, other string) keywords {
	expected := first + " or " + other + ", at least one"
	return keywords{
		"if": keywords{"required": []string{first}, "properties": keywords{first: keywords{"type": "array", "minItems": 1}}},
		"else": keywords{
			"description": expected, "required": []string{other},
			"properties": keywords{other: keywords{"description": expected, "not": keywords{"maxItems": 0}}},
		},
	}
}
