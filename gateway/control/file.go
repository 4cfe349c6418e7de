package control

import (
	"context"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/control/operation"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/problem"
)

// File shows what is in force of the gateway's file: a gatewayfile.Follower.
type File interface {
	InForce() gatewayfile.InForce
}

func (a *API) addFile(set *operation.Set) {
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/gateway", ID: "getGateway", Tag: "gateway",
		Summary: "Show what is in force of the gateway's file",
		Needs:   auth.DoAnything, Codes: []problem.Code{problem.NotFound},
	}, a.getFile)
	operation.Add(set, operation.Operation{
		Method: http.MethodGet, Pattern: "/v1/login", ID: "listLogins", Tag: "gateway",
		Summary: "List the issuers of which people take tokens",
		Public:  true,
	}, a.listLogins)
}

// Gateway is what is in force of the gateway's file.
type Gateway struct {
	Generation int64     `json:"generation" doc:"how many contents this replica has put in force"`
	Digest     string    `json:"digest,omitempty" doc:"SHA-256 of the file; absent without one"`
	Since      time.Time `json:"since"`
	AgeSeconds float64   `json:"age_seconds"`
	Bad        string    `json:"bad,omitempty" doc:"what is wrong with the file as it is now, while an earlier one is in force"`
	Stale      string    `json:"stale" doc:"how long known keys stay good while the database cannot be reached"`
	Issuers    []Issuer  `json:"issuers"`
	Limits     []Limit   `json:"limits"`
	RedisDown  string    `json:"redis_down" doc:"what limits do while their Redis cannot be reached: closed or open"`
}

// Match is which calls a limit is for: by names, or beginnings of names with * behind them.
type Match struct {
	Tenant string `json:"tenant,omitempty"`
	Key    string `json:"key,omitempty"`
	Route  string `json:"route,omitempty"`
	Model  string `json:"model,omitempty"`
	Path   string `json:"path,omitempty"`
}

// Limit is how much callers may have. One of rate, quota and concurrency is there.
type Limit struct {
	Name        string   `json:"name"`
	Match       Match    `json:"match,omitzero" doc:"which calls it is for"`
	Per         []string `json:"per,omitzero" doc:"what its counts are apart by"`
	Rate        float64  `json:"rate,omitzero" doc:"units of the cost a second"`
	Burst       float64  `json:"burst,omitzero"`
	Quota       int64    `json:"quota,omitzero"`
	Period      string   `json:"period,omitzero" doc:"day or month"`
	Concurrency int      `json:"concurrency,omitzero" doc:"calls at once"`
	Cost        string   `json:"cost"`
	AtQuota     string   `json:"at_quota,omitzero"`
}

// Issuer is who may call with tokens of theirs.
type Issuer struct {
	Issuer     string   `json:"issuer"`
	Audiences  []string `json:"audiences"`
	Discovery  string   `json:"discovery,omitempty" doc:"where OpenID discovery says its keys are, of an issuer without jwks_uri and jwks_file"`
	JWKSURI    string   `json:"jwks_uri,omitempty" doc:"where its keys are"`
	JWKSFile   string   `json:"jwks_file,omitempty" doc:"the file of its keys"`
	Algorithms []string `json:"algorithms"`
	Leeway     string   `json:"leeway" doc:"how far its clock may be off"`
	Tenant     string   `json:"tenant" doc:"CEL over claims"`
	Roles      string   `json:"roles,omitempty" doc:"CEL over claims"`
	Admin      bool     `json:"admin"`
}

func shownLimit(r *limit.Rule) Limit {
	out := Limit{
		Name: r.Name, Rate: r.Rate, Burst: r.Burst, Quota: r.Quota, Period: string(r.Period), Concurrency: r.Concurrency, Cost: string(r.Cost),
		Match: Match(r.Match),
	}
	for _, by := range r.Per {
		out.Per = append(out.Per, string(by))
	}
	if r.Quota > 0 {
		out.AtQuota = "refuse"
		if r.Report {
			out.AtQuota = "report"
		}
	}
	return out
}

type getFileOutput struct{ Body Gateway }

func (a *API) getFile(context.Context, *call.Call, *struct{}) (*getFileOutput, error) {
	if a.deps.File == nil {
		return nil, problem.New(problem.NotFound, "this gateway follows no file")
	}
	is := a.deps.File.InForce()
	out := &getFileOutput{Gateway{
		Generation: is.Generation, Digest: is.Digest, Since: is.Since.UTC(), AgeSeconds: time.Since(is.Since).Seconds(), Bad: is.Bad,
		Stale: gatewayfile.Written(is.File.Stale), RedisDown: string(is.File.Down),
	}}
	for i := range is.File.Limits {
		out.Body.Limits = append(out.Body.Limits, shownLimit(&is.File.Limits[i]))
	}
	for i := range is.File.Issuers {
		f := &is.File.Issuers[i]
		shown := Issuer{
			Issuer: f.Issuer, Audiences: f.Audiences, JWKSURI: f.JWKSURI, JWKSFile: f.JWKSFile, Algorithms: f.Algorithms,
			Leeway: gatewayfile.Written(f.Leeway), Tenant: f.Tenant, Roles: f.Roles, Admin: f.Admin,
		}
		if f.JWKSURI == "" && f.JWKSFile == "" {
			shown.Discovery = f.Discovery()
		}
		out.Body.Issuers = append(out.Body.Issuers, shown)
	}
	return out, nil
}

// Login is how to take a token of an issuer (RFC 8628).
type Login struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
}

// Logins are the issuers of which people take tokens.
type Logins struct {
	Issuers []Login `json:"issuers"`
}

type listLoginsOutput struct{ Body Logins }

func (a *API) listLogins(context.Context, *call.Call, *struct{}) (*listLoginsOutput, error) {
	out := &listLoginsOutput{}
	if a.deps.File == nil {
		return out, nil
	}
	is := a.deps.File.InForce()
	for i := range is.File.Issuers {
		if f := &is.File.Issuers[i]; f.Login != nil {
			out.Body.Issuers = append(out.Body.Issuers, Login{f.Issuer, f.Login.ClientID, f.Login.Scopes})
		}
	}
	return out, nil
}
