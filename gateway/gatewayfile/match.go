package gatewayfile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// Routes are what a limit may name as the route of calls: the patterns of what needs a
// credential, as /openapi.json has them without versions, the procedures of gRPC that
// have no such URL, a function's native payload ("/"), and what is no URL ("none").
func Routes() []string {
	return []string{
		"/", "none",
		"/v1/access", "/v1/audit", "/v1/audit/chains", "/v1/audit/export", "/v1/audit/verify", "/v1/functions", "/v1/gateway",
		"/v1/grants", "/v1/grants/{id}", "/v1/keys", "/v1/keys/{id}", "/v1/keys/{id}/rotate", "/v1/roles", "/v1/roles/{name}", "/v1/usage",
		"/v1/dead-letters", "/v1/dead-letters/replay", "/v1/dead-letters/{id}", "/v1/dead-letters/{id}/replay",
		"/v1/schedules", "/v1/schedules/{name}", "/v1/schedules/{name}/pause", "/v1/schedules/{name}/resume", "/v1/schedules/{name}/run",
		"/v1/executions", "/v1/executions/{id}", "/v1/executions/{id}/cancel", "/v1/executions/{id}/events", "/v1/executions/{id}/replay", "/v1/executions/{id}/result",
		"/v1/pipelines", "/v1/pipelines/{name}", "/v1/pipelines/{name}/executions", "/v1/pipelines/{name}/versions", "/v1/pipelines/{name}/versions/{version}/deprecate",
		"/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", "/v2/repository/index",
		"/v2/models/{model}", "/v2/models/{model}/config", "/v2/models/{model}/infer", "/v2/models/{model}/ready", "/v2/models/{model}/stats",
		"/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload",
		"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	}
}

// hasModel reports whether calls of a route are of a model, or of a function.
func hasModel(route string) bool { return route == "/" || strings.Contains(route, "{model}") }

// match reports what of a limit matches no call, whatever callers do.
func (f *limitForm) match(report func(field, detail string)) {
	m := &f.Match
	const name = "expected a DNS label (a-z, 0-9 and hyphens within, at most 63), or the beginning of some with a * behind it"
	if !begins(m.Tenant, label) {
		report("match.tenant", name)
	}
	if !begins(m.Model, label) {
		report("match.model", name)
	}
	if !begins(m.Key, keyID) && !strings.HasPrefix(m.Key, "https://") {
		report("match.key", "expected the id of a key, without ms_ and its secret, or ISSUER SUBJECT of a token, or the beginning of some with a * behind it")
	}
	if m.Path != "" && m.Path != "*" && !strings.HasPrefix(m.Path, "/") {
		report("match.path", "expected a path that begins with /")
	}
	routes := slices.DeleteFunc(Routes(), func(route string) bool { return !fits(m.Route, route) })
	switch {
	case len(routes) == 0:
		report("match.route", "expected the pattern of a URL of /openapi.json without a version, as /v2/models/{model}/infer, or / for native payloads, "+
			"or the beginning of some with a * behind it")
	case (m.Model != "" || slices.Contains(f.Per, limit.ByModel)) && !slices.ContainsFunc(routes, hasModel):
		report("match.route", "expected a route with {model} in it, or /: the limit is for calls of models alone")
	}
}

// fits reports whether a pattern of the file is for a name.
func fits(pattern, name string) bool {
	if begin, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(name, begin)
	}
	return pattern == "" || pattern == name
}

const (
	label = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	keyID = `[a-zA-Z0-9]{1,32}`
)

// begins reports whether a pattern of the file is for names of a form, which of a
// beginning may go on with a letter.
func begins(pattern, form string) bool {
	begin, open := strings.CutSuffix(pattern, "*")
	if begin == "" {
		return true
	}
	whole := regexp.MustCompile("^" + form + "$")
	return whole.MatchString(begin) || open && whole.MatchString(begin+"a")
}
