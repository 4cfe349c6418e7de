package gateway

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/problem"
)

// withoutPlan is a request at a function's host without what only the pipelines service
// sends: a plan in its query, and attributes of events that callers may not set. An
// event that has one is refused; of a structured one, which is looked at while it is
// sent on, by failing its body.
func withoutPlan(r *http.Request, b *body) (*http.Request, error) {
	if query := withoutQuery(r.URL.RawQuery); query != r.URL.RawQuery {
		address := *r.URL
		address.RawQuery = query
		r = r.WithContext(r.Context()) // a copy
		r.URL = &address
	}
	isEvent := len(r.Header.Values("Ce-Specversion")) > 0
	for _, name := range envelope.Reserved() {
		header := http.CanonicalHeaderKey("Ce-" + name)
		if len(r.Header[header]) == 0 {
			continue
		}
		if isEvent {
			return nil, reservedAttribute(header)
		}
		r.Header.Del(header)
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if media = strings.ToLower(strings.TrimSpace(media)); strings.HasPrefix(media, "application/cloudevents") && b != nil {
		names := new(memberNames)
		b.look = func(p []byte) *problem.Error {
			if name := names.read(p); name != "" {
				return reservedAttribute(name)
			}
			return nil
		}
	}
	return r, nil
}

func reservedAttribute(name string) *problem.Error {
	return &problem.Error{
		Code:   problem.Reserved,
		Detail: name + ": only the platform sets this attribute of an event",
		Fields: []problem.Field{{Field: name, Detail: "expected an event without it"}},
	}
}

// withoutQuery is a query without a plan, and otherwise as it is.
func withoutQuery(query string) string {
	if query == "" {
		return ""
	}
	parts := strings.Split(query, "&")
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		return err == nil && ticket.HasPlan(url.Values{plain: nil})
	}), "&")
}

// longestName is how many bytes of a member's name are kept, in which each letter of a
// reserved one may be escaped.
const longestName = 128

// memberNames finds the names of a JSON object's own members while the object passes, in
// pieces. It checks no JSON: who reads the object does.
type memberNames struct {
	depth   int
	text    bool // within a string
	escaped bool // behind a backslash in one
	key     bool // the string is a name of the object's own
	value   bool // behind a colon of the object's own
	name    []byte
}

// read reads on, and returns the first name that is reserved, as it was written; "" is
// none.
func (m *memberNames) read(p []byte) string {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if m.text {
			if !m.key && !m.escaped && c != '"' && c != '\\' { // most of an event is its data
				if next := bytes.IndexAny(p[i:], `"\`); next > 0 {
					i += next - 1
				} else if next < 0 {
					return ""
				}
				continue
			}
			if name := m.within(c); name != "" {
				return name
			}
			continue
		}
		switch c {
		case '"':
			m.text, m.key, m.name = true, m.depth == 1 && !m.value, m.name[:0]
		case '{', '[':
			m.depth++
		case '}', ']':
			m.depth--
		case ',', ':':
			if m.depth == 1 {
				m.value = c == ':'
			}
		}
	}
	return ""
}

// within reads one byte of a string.
func (m *memberNames) within(c byte) string {
	switch {
	case m.escaped:
		m.escaped = false
	case c == '\\':
		m.escaped = true
	case c == '"':
		m.text = false
		if !m.key {
			return ""
		}
		name, err := jsontext.AppendUnquote(nil, `"`+string(m.name)+`"`)
		if err == nil && slices.Contains(envelope.Reserved(), strings.ToLower(string(name))) {
			return string(name)
		}
		return ""
	}
	if m.key && len(m.name) < longestName {
		m.name = append(m.name, c)
	}
	return ""
}
