// Package gatewayfile reads the file in which the operator decides who may call and
// how much (gateway.yaml): its form, every fault by path and line, and what is in
// force while it changes.
//
// It puts nothing in force itself: whoever follows the file does.
package gatewayfile

import (
	"fmt"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/limit"
	"github.com/modelserveai/modelserve/internal/document"
)

// File is what a gateway's file says.
type File struct {
	Issuers []jwt.Issuer
	Limits  []limit.Rule
	Down    limit.Down    // what limits do while their Redis cannot be reached
	Stale   time.Duration // how long known keys stay good while the database cannot be reached
}

// Default is what is in force without a file.
func Default() *File { return &File{Stale: 30 * time.Second, Down: limit.Closed} }

// Written is a duration as people write one in the file: "1h", not "1h0m0s".
func Written(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Fault is one thing that is wrong with a file.
type Fault = document.Fault

// Faults are all that is wrong with a file, by line.
type Faults = document.Faults

// maxFile bounds a file: a ConfigMap has no more.
const maxFile = 1 << 20 // bytes

// form is the file as it is written.
type form struct {
	Issuers []struct {
		Issuer     string   `json:"issuer"`
		Audiences  []string `json:"audiences"`
		JWKSURI    string   `json:"jwks_uri"`
		JWKSFile   string   `json:"jwks_file"`
		Algorithms []string `json:"algorithms"`
		Leeway     string   `json:"leeway"`
		Tenant     string   `json:"tenant"`
		Roles      string   `json:"roles"`
		Admin      bool     `json:"admin"`
		Login      *struct {
			ClientID string   `json:"client_id"`
			Scopes   []string `json:"scopes"`
		} `json:"login"`
	} `json:"issuers"`
	Stale     string      `json:"stale"`
	Limits    []limitForm `json:"limits"`
	RedisDown limit.Down  `json:"redis_down"`
}

// Bounds of what is said, and what is in force where nothing is.
const (
	shortestStale = time.Second
	longestStale  = time.Hour
	defaultLeeway = 30 * time.Second
	longestLeeway = 5 * time.Minute
)

// file makes of the form what it says. The faults are added to those that are known
// of its shape; what issuers say is looked at where there is none.
func (f *form) file(at func(path string) int, faults Faults) (*File, Faults) {
	out := Default()
	known := map[string]bool{}
	for _, fault := range faults {
		known[fault.Path] = true
	}
	duration := func(path, text string, least, most time.Duration) time.Duration {
		if text == "" {
			return 0
		}
		d, err := time.ParseDuration(text)
		if known[path] {
			return 0
		}
		if err != nil || d < least || d > most {
			faults = append(faults, Fault{Path: path, Line: at(path), Detail: fmt.Sprintf("expected a duration, %s to %s", Written(least), Written(most))})
		}
		return d
	}
	if d := duration("stale", f.Stale, shortestStale, longestStale); d > 0 {
		out.Stale = d
	}
	for i := range f.Issuers {
		w := &f.Issuers[i]
		issuer := jwt.Issuer{
			Issuer: w.Issuer, Audiences: w.Audiences, JWKSURI: w.JWKSURI, JWKSFile: w.JWKSFile, Algorithms: w.Algorithms,
			Leeway: defaultLeeway, Tenant: w.Tenant, Roles: w.Roles, Admin: w.Admin,
		}
		if w.Leeway != "" {
			issuer.Leeway = duration(fmt.Sprintf("issuers[%d].leeway", i), w.Leeway, 0, longestLeeway)
		}
		if issuer.Algorithms == nil {
			issuer.Algorithms = []string{"RS256", "ES256"}
		}
		out.Issuers = append(out.Issuers, issuer)
		if w.Login != nil {
			out.Issuers[i].Login = &jwt.Login{ClientID: w.Login.ClientID, Scopes: w.Login.Scopes}
		}
	}
	out.Limits = f.limits(func(path, detail string) {
		if !known[path] {
			faults = append(faults, Fault{Path: path, Line: at(path), Detail: detail})
		}
	})
	if f.RedisDown != "" {
		out.Down = f.RedisDown
	}
	if faults != nil {
		return nil, faults
	}
	for _, fault := range jwt.Check(out.Issuers) {
		faults = append(faults, Fault{Path: fault.Field, Line: at(fault.Field), Detail: fault.Detail})
	}
	return out, faults
}
