package api

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

func pageParams(more ...string) []string {
	return append(more, contract.ParamLimit, contract.ParamCursor)
}

func startParams() []string {
	return []string{contract.ParamPriority, contract.ParamRunAt, contract.ParamLabel}
}

// query is the parameters of a request: known ones, each once but for labels.
type query map[string][]string

// mostFields bounds the faults that one answer lists.
const mostFields = 20

// parseQuery reads the parameters that an operation has, and refuses all others.
func parseQuery(raw string, known []string) (query, error) {
	parsed, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problem.Invalid("query", "expected parameters as a URL has them: NAME=VALUE, joined by & and escaped")
	}
	var fields []problem.Field
	for _, name := range slices.Sorted(maps.Keys(parsed)) {
		switch {
		case len(fields) == mostFields:
		case !slices.Contains(known, name):
			fields = append(fields, problem.Field{Field: shown(name), Detail: "there is no such parameter here; expected " + cmp.Or(strings.Join(known, ", "), "none")})
		case len(parsed[name]) > 1 && name != contract.ParamLabel:
			fields = append(fields, problem.Field{Field: name, Detail: "expected once"})
		}
	}
	if len(fields) == 0 {
		return query(parsed), nil
	}
	p := problem.Invalid(fields[0].Field, "%s", fields[0].Detail)
	p.Fields = fields
	return nil, p
}

// shown is a caller's name as an error repeats it.
func shown(name string) string {
	const most = 64
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return strings.ToValidUTF8(name, "�")
}

// text is a parameter; "" where it is left out.
func (q query) text(name string) string {
	if len(q[name]) == 0 {
		return ""
	}
	return q[name][0]
}

// number is a parameter within bounds.
func (q query) number(name string, least, most, otherwise int) (int, error) {
	if len(q[name]) == 0 {
		return otherwise, nil
	}
	n, err := strconv.Atoi(q[name][0])
	if err != nil || n < least || n > most || strings.HasPrefix(q[name][0], "+") {
		return 0, problem.Invalid(name, "expected a number of %d to %d", least, most)
	}
	return n, nil
}

// page is what a list takes.
func (q query) page() (limit int, after record.Cursor, err error) {
	if limit, err = q.number(contract.ParamLimit, 1, contract.MaxLimit, contract.DefaultLimit); err != nil {
		return 0, record.Cursor{}, err
	}
	if after, err = record.ParseCursor(q.text(contract.ParamCursor)); err != nil {
		return 0, record.Cursor{}, errCursor()
	}
	return limit, after, nil
}

func errCursor() error {
	return problem.Invalid(contract.ParamCursor, "expected the next_cursor of the page before, unchanged")
}

// name is a parameter that names a pipeline; "" where it is left out.
func (q query) name(name string) (string, error) {
	text := q.text(name)
	if len(q[name]) > 0 && !envelope.IsTenant(text) { // both are DNS labels
		return "", problem.Invalid(name, "expected a name: a-z, 0-9 and hyphens within, at most 63")
	}
	return text, nil
}

// id is a parameter that names a step or an execution; "" where it is left out.
func (q query) id(name string, is func(string) bool) (string, error) {
	text := q.text(name)
	if len(q[name]) > 0 && !is(text) {
		return "", problem.Invalid(name, "expected the name or id of one")
	}
	return text, nil
}

// maxVersion is the highest number of a version.
const maxVersion = 1<<31 - 1

// labels are the parameters KEY=VALUE.
func (q query) labels() (map[string]string, error) {
	given := q[contract.ParamLabel]
	if len(given) == 0 {
		return nil, nil
	}
	if len(given) > definition.MaxLabels {
		return nil, problem.Invalid(contract.ParamLabel, "expected at most %d, got %d", definition.MaxLabels, len(given))
	}
	labels := make(map[string]string, len(given))
	for _, label := range given {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			key = "" // which is refused
		}
		if err := definition.CheckLabel(key, value); err != nil {
			return nil, problem.Invalid(contract.ParamLabel, "%v", err)
		}
		if other, twice := labels[key]; twice && other != value {
			return nil, problem.Invalid(contract.ParamLabel, "expected each key once")
		}
		labels[key] = value
	}
	return labels, nil
}

// longestDelay is how far ahead an execution may be.
const longestDelay = 366 * 24 * time.Hour

// runAt is when an execution may begin; zero is at once.
func (q query) runAt(now time.Time) (time.Time, error) {
	text := q.text(contract.ParamRunAt)
	if len(q[contract.ParamRunAt]) == 0 {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		var in time.Duration
		if in, err = time.ParseDuration(text); err == nil {
			at = now.Add(in)
		}
	}
	if err != nil || at.After(now.Add(longestDelay)) || at.Before(now.Add(-longestDelay)) {
		return time.Time{}, problem.Invalid(contract.ParamRunAt, "expected a time such as 2026-12-01T08:00:00Z, or a duration from now such as 10m, within a year")
	}
	return at.UTC(), nil
}

// wait is how long a request prefers to wait (RFC 7240, 4.3), and no longer than its
// deadline at the gateway leaves; 0 is not at all. Of what a header has twice the first
// counts, and what is no preference of ours is not looked at.
func wait(h http.Header, left time.Duration) time.Duration {
	for _, line := range h.Values(contract.PreferHeader) {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0
			}
			d := time.Duration(min(seconds, contract.MaxWaitSeconds)) * time.Second
			if left > 0 {
				d = min(d, max(left-time.Second, left/2))
			}
			return d
		}
	}
	return 0
}

// idempotencyKey is that of a request; "" is none.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values(contract.IdempotencyKeyHeader)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || values[0] == "" || len(values[0]) > contract.MaxIdempotencyKey ||
		strings.ContainsFunc(values[0], func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", problem.Invalid(contract.IdempotencyKeyHeader, "expected once, 1 to %d visible characters of ASCII", contract.MaxIdempotencyKey)
	}
	return values[0], nil
}
