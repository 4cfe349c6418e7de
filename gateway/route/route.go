// Package route knows where functions are: which host names lead to which one,
// and which model versions each has of its own.
//
// It decides by names alone. Whether a caller may go there is auth's, and how
// to get there the proxy's.
package route

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// ErrAtZero is what a transport returns for a request that may wake nothing
// (infer.WakeHeader) and whose function is at zero.
var ErrAtZero = errors.New("the function is at zero")

// Function is one function the gateway may send requests to.
type Function struct {
	Name      string
	Namespace string

	// URL is where it answers: scheme and host, no path. A tag of it answers at
	// the same host behind "<tag>-", as Knative names them.
	URL string

	// Models are the versions that every revision with a share of its traffic
	// serves. Calls by path to one of these go to the function.
	Models []model.Ref

	// Mixed are the versions that only some of those revisions serve, as in a
	// canary. Calls at its host may be for them too: the split decides which
	// revision answers.
	Mixed []model.Ref

	// Tags are the revisions with names of their own.
	Tags []string

	// Tagged are the versions that the revisions behind tags serve. Of a tag that
	// is not in it nothing is known but what is known of the function.
	Tagged map[string][]model.Ref

	// Pool marks the function that takes every published model that no function
	// pins. It has no host: its models are called by path.
	Pool bool

	State  State
	Reason string // of StateFailed

	// Starting is why calls fail for now, of a function that there was no way to
	// yet; "" of any other, those at zero and those that wake among them.
	Starting string
}

// Bound is what a host name leads to.
type Bound struct {
	Function *Function
	URL      *url.URL // of the function, or of its tag

	pins []model.Ref // that a call at this host may be for
	tags []*Bound    // of a function: those whose versions are known
}

// Pins lists the versions of every model that a call at this host may be for.
// The caller does not change it.
func (b *Bound) Pins() []model.Ref { return b.pins }

// Versions lists those of one model, newest first; none when the function has
// no model of its own by that name.
func (b *Bound) Versions(model string) []int {
	var versions []int
	for _, p := range b.pins {
		if p.Name == model {
			versions = append(versions, p.Version)
		}
	}
	slices.SortFunc(versions, func(a, b int) int { return b - a })
	return slices.Compact(versions)
}

// Holding is where a call goes that names a version: to a tag whose revision
// serves it where not every one of the function's does, else to the function,
// whose split may choose one that does not.
func (b *Bound) Holding(pin model.Ref) *Bound {
	if slices.Contains(b.Function.Models, pin) {
		return b
	}
	for _, tag := range b.tags {
		if slices.Contains(tag.pins, pin) {
			return tag
		}
	}
	return b
}

// Routes is the table in force. Replacing it never disturbs a request.
type Routes struct {
	templates []template
	table     atomic.Pointer[table]
}

type table struct {
	functions []Function // by namespace and name
	bounds    []*Bound   // of functions, in the order they came in
	hosts     map[string]*Bound
	models    map[model.Ref]*Bound
	pool      *Bound
}

// New makes an empty table. A template is the form of functions' hosts, as
// "{function}.{namespace}.localhost"; the first is the one shown to people.
func New(templates ...string) (*Routes, error) {
	r := &Routes{}
	for _, text := range templates {
		t, err := parseTemplate(text)
		if err != nil {
			return nil, err
		}
		r.templates = append(r.templates, t)
	}
	if len(r.templates) == 0 {
		return nil, errors.New("expected at least one host template")
	}
	r.table.Store(&table{})
	return r, nil
}

// Faults are why functions were left out, one for each.
type Faults []error

// Error has a line for each.
func (f Faults) Error() string { return errors.Join(f...).Error() }

// Unwrap returns them all.
func (f Faults) Unwrap() []error { return f }

// Replace puts functions in force. One that is wrong, or that wants what one
// before it in the list has, is left out: the others are in force all the same,
// and the error, of type Faults, has which and why.
func (r *Routes) Replace(functions []Function) error {
	t, faults := r.build(functions)
	r.table.Store(t)
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// replaceAll puts functions in force, all or, on an error, none.
func (r *Routes) replaceAll(functions []Function) error {
	t, faults := r.build(functions)
	if len(faults) > 0 {
		return faults
	}
	r.table.Store(t)
	return nil
}

func (r *Routes) build(functions []Function) (*table, Faults) {
	t := &table{hosts: map[string]*Bound{}, models: map[model.Ref]*Bound{}}
	var faults Faults
	for i := range functions {
		f := functions[i]
		if err := r.add(t, &f); err != nil {
			faults = append(faults, fmt.Errorf("function %s/%s: %w", f.Namespace, f.Name, err))
			continue
		}
		t.functions = append(t.functions, f)
	}
	for _, bound := range t.bounds { // names win over tags that read the same
		r.addTags(t, bound)
	}
	slices.SortFunc(t.functions, func(a, b Function) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return t, faults
}

// add adds a function, or on an error nothing.
func (r *Routes) add(t *table, f *Function) error {
	at, err := f.check()
	if err != nil {
		return err
	}
	bound := &Bound{Function: f, URL: at, pins: slices.Concat(f.Models, f.Mixed)}
	if f.Pool {
		if t.pool != nil {
			return fmt.Errorf("there is a pool already: %s/%s", t.pool.Function.Namespace, t.pool.Function.Name)
		}
		t.pool = bound
		return nil
	}
	for _, tmpl := range r.templates {
		host := tmpl.host(f.Name, f.Namespace)
		if other := t.hosts[host]; other != nil {
			return fmt.Errorf("its host %s is that of %s/%s already", host, other.Function.Namespace, other.Function.Name)
		}
	}
	for _, tmpl := range r.templates {
		t.hosts[tmpl.host(f.Name, f.Namespace)] = bound
	}
	for _, pin := range f.Models {
		// Two functions may serve a version; one of its own name comes first.
		if held := t.models[pin]; held == nil || f.Name == pin.Name && held.Function.Name != pin.Name {
			t.models[pin] = bound
		}
	}
	t.bounds = append(t.bounds, bound)
	return nil
}

// check holds a function to the rules, and returns its URL, parsed.
func (f *Function) check() (*url.URL, error) {
	for _, name := range append([]string{f.Name, f.Namespace}, f.Tags...) {
		if _, err := infer.ParseName(name); err != nil {
			return nil, fmt.Errorf("%q is not a DNS label", name)
		}
	}
	for _, pin := range slices.Concat(f.Models, f.Mixed) {
		if err := pin.Check(); err != nil {
			return nil, fmt.Errorf("%q is not a model and a version: %w", pin, err)
		}
	}
	return parseURL(f.URL)
}

func (r *Routes) addTags(t *table, of *Bound) {
	for _, tag := range of.Function.Tags {
		at := *of.URL
		at.Host = tag + "-" + at.Host
		bound := &Bound{Function: of.Function, URL: &at, pins: of.pins}
		if pins, known := of.Function.Tagged[tag]; known {
			bound.pins = pins
			of.tags = append(of.tags, bound)
		}
		for _, tmpl := range r.templates {
			host := tmpl.host(tag+"-"+of.Function.Name, of.Function.Namespace)
			if t.hosts[host] == nil {
				t.hosts[host] = bound
			}
		}
	}
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		(u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("url: expected http(s)://host[:port], got %q", text)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// Host finds what a request's host leads to. mine is whether the host has the
// form of a function's; with none there, bound is nil.
func (r *Routes) Host(host string) (bound *Bound, mine bool) {
	host = CanonicalHost(host)
	if b := r.table.Load().hosts[host]; b != nil {
		return b, true
	}
	return nil, slices.ContainsFunc(r.templates, func(t template) bool { return t.matches(host) })
}

// Model finds the function that a version of a model goes to: the one that
// pins it, else the pool; nil without either.
func (r *Routes) Model(pin model.Ref) *Bound {
	t := r.table.Load()
	if b := t.models[pin]; b != nil {
		return b
	}
	return t.pool
}

// Holders lists every function that may hold some version of a model in
// memory: those with a revision that serves one, then the pool. An empty name
// is any model.
func (r *Routes) Holders(name string) []*Bound {
	t := r.table.Load()
	var found []*Bound
	for _, b := range t.bounds {
		if slices.ContainsFunc(b.pins, func(pin model.Ref) bool { return name == "" || pin.Name == name }) {
			found = append(found, b)
		}
	}
	slices.SortFunc(found, func(a, b *Bound) int { return strings.Compare(a.URL.Host, b.URL.Host) })
	if t.pool != nil {
		found = append(found, t.pool)
	}
	return found
}

// Functions lists the table, by namespace and name. The caller does not change it.
func (r *Routes) Functions() []Function { return r.table.Load().functions }

// PublicHost is the host people call a function by, without a port; "" for the
// pool.
func (r *Routes) PublicHost(f *Function) string {
	if f.Pool {
		return ""
	}
	return r.templates[0].host(f.Name, f.Namespace)
}

// CanonicalHost is a Host header's name alone: lower case, without port and
// without the root's dot.
func CanonicalHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// template is a host with places for a function and its namespace.
type template struct{ text, suffix string }

const (
	functionPlace  = "{function}"
	namespacePlace = "{namespace}"
)

func parseTemplate(text string) (template, error) {
	text = strings.ToLower(text)
	rest, ok := strings.CutPrefix(text, functionPlace+".")
	if rest2, has := strings.CutPrefix(rest, namespacePlace+"."); has {
		rest = rest2
	}
	if !ok || rest == "" || strings.ContainsAny(rest, "{}:/ ") {
		return template{}, fmt.Errorf("host template %q: expected {function}.{namespace}.domain or {function}.domain", text)
	}
	return template{text: text, suffix: "." + rest}, nil
}

func (t template) host(function, namespace string) string {
	return strings.NewReplacer(functionPlace, function, namespacePlace, namespace).Replace(t.text)
}

// matches reports whether host has the template's form. It has as many labels,
// so the domain itself, and others under it, may be the gateway's own.
func (t template) matches(host string) bool {
	return strings.HasSuffix(host, t.suffix) && strings.Count(host, ".") == strings.Count(t.text, ".")
}
