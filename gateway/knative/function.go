package knative

import (
	"slices"
	"strings"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/model"
)

// poolName is the name of the function that may be the pool.
const poolName = "pool"

// standing is how a function stands, beside its route: what the transport asks.
type standing struct {
	atZero   bool   // some revision behind it has no instance
	cold     bool   // none has
	failed   string // why it cannot start; "" when it can
	starting string // why it is not reached yet; "" when it is
}

// function makes a route of a Service and the Revisions of its namespace.
func function(namespace, name string, s service, revisions map[string]revision) route.Function {
	f := route.Function{Namespace: namespace, Name: name, URL: s.url, Tagged: map[string][]model.Ref{}}
	if f.URL == "" { // the one that it will have
		f.URL = "http://" + name + "." + namespace + ".svc.cluster.local"
	}
	serving := s.serving()
	f.Models, f.Mixed = models(serving, revisions)
	switch {
	case len(serving) == 0: // nothing answers yet; what will may be asked for at its host
		f.Mixed = revisions[s.created].models
	case !s.routed: // until the way there is, the pool goes on to answer by path
		f.Mixed, f.Models = slices.Concat(f.Models, f.Mixed), nil
	}
	f.Pool = name == poolName && every(s, serving, revisions)
	for _, t := range s.traffic {
		if t.tag != "" {
			f.Tags = append(f.Tags, t.tag)
			f.Tagged[t.tag] = revisions[t.revision].models
		}
	}
	f.State, f.Reason = state(s, serving, revisions)
	if f.State != route.StateFailed && (len(serving) == 0 || s.pending) {
		f.Starting = "the function is starting"
		if f.Reason != "" {
			f.Starting += ": " + f.Reason
		}
	}
	return f
}

// serving are the revisions with a share of the traffic.
func (s service) serving() []string {
	var names []string
	for _, t := range s.traffic {
		if t.percent > 0 && !slices.Contains(names, t.revision) {
			names = append(names, t.revision)
		}
	}
	return names
}

// models are the versions that each of some revisions serves, and those that
// only some do. A revision that is not known yet serves none.
func models(names []string, revisions map[string]revision) (common, mixed []model.Ref) {
	lists := make([][]model.Ref, len(names))
	for i, name := range names {
		lists[i] = revisions[name].models
	}
	return route.Shared(lists)
}

// every reports whether every revision that answers, or the one that will, serves
// every model.
func every(s service, serving []string, revisions map[string]revision) bool {
	if len(serving) == 0 {
		return revisions[s.created].every
	}
	return !slices.ContainsFunc(serving, func(name string) bool { return !revisions[name].every })
}

// state is whether calls will be answered. A function has failed when no revision with
// traffic can serve; that its newest cannot, beside one that does, is a reason
// and no state.
func state(s service, serving []string, revisions map[string]revision) (state route.State, reason string) {
	if len(serving) == 0 {
		if s.ready.bad() {
			return route.StateFailed, s.ready.message
		}
		return route.StateStarting, s.ready.message
	}
	if s.ready.bad() {
		reason = s.ready.message
	}
	awake, idle, can := false, false, false
	for _, name := range serving {
		r := revisions[name]
		awake = awake || r.replicas > 0
		idle = idle || r.ready.good
		can = can || r.replicas > 0 || !r.ready.bad()
		if reason == "" && r.ready.bad() {
			reason = r.ready.message
		}
	}
	switch {
	case awake:
		return route.StateReady, reason
	case !can:
		return route.StateFailed, reason
	case idle:
		return route.StateIdle, reason
	default:
		return route.StateStarting, reason
	}
}

// stands adds how each host of a function stands, by the hosts of its URL.
// A host with several revisions is at zero when any of them is: which one a
// request comes to is not the caller's choice.
func stands(f *route.Function, s service, revisions map[string]revision, into map[string]standing) {
	host := hostOf(f.URL)
	whole := standing{atZero: len(s.serving()) == 0, cold: true, starting: f.Starting}
	for _, name := range s.serving() {
		whole.atZero = whole.atZero || revisions[name].replicas == 0
		whole.cold = whole.cold && revisions[name].replicas == 0
	}
	if f.State == route.StateFailed {
		whole.failed = f.Reason
	}
	into[host] = whole
	for _, t := range s.traffic {
		if t.tag == "" {
			continue
		}
		r := revisions[t.revision]
		tagged := standing{atZero: r.replicas == 0, cold: r.replicas == 0}
		if r.ready.bad() && r.replicas == 0 {
			tagged.failed = r.ready.message
		}
		into[t.tag+"-"+host] = tagged
	}
}

// hostOf is the host of a URL as package route has it, with its port.
func hostOf(url string) string {
	_, host, _ := strings.Cut(strings.ToLower(url), "://")
	return strings.TrimSuffix(host, "/")
}
