package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/kncloudevents"
	parallelresources "knative.dev/eventing/pkg/reconciler/parallel/resources"
	sequenceresources "knative.dev/eventing/pkg/reconciler/sequence/resources"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// channelSuffix ends the name of a channel's host.
const channelSuffix = "-kn-channel"

// Objects are what a version of a pipeline is made of, as a cluster has them.
type Objects struct {
	Sequences     []*flowsv1.Sequence
	Parallels     []*flowsv1.Parallel
	Subscriptions []*messagingv1.Subscription // taps, on channels of the others
}

// URL is where a channel of this name takes events.
func (h *Hub) URL(channel string) string {
	return h.base + channel + channelSuffix + h.domain() + "/"
}

// Sequence is the name of a channel of a Sequence: of the step of this index, which it
// has before it.
func Sequence(name string, step int) string {
	return sequenceresources.SequenceChannelName(name, step)
}

// Apply makes the channels of objects, in place of those that this owner had. What a
// cluster would refuse is refused, and so is what cannot be honoured here; nothing is
// changed then.
func (h *Hub) Apply(ctx context.Context, owner string, objects Objects) error {
	subscriptions, err := h.subscriptions(ctx, objects)
	if err != nil {
		return fmt.Errorf("channels of %s: %w", owner, err)
	}
	made := installed{addresses: map[string]bool{}}
	handlers := map[string]fanout.EventHandler{}
	for name, list := range subscriptions {
		handler, err := h.fan(list)
		if err != nil {
			return fmt.Errorf("channels of %s: %w", owner, err)
		}
		host := name + channelSuffix + h.domain()
		handlers[host] = handler
		made.hosts = append(made.hosts, host)
		for _, s := range list {
			for _, to := range []*duckv1.Addressable{&s.Subscriber, s.Reply, s.DeadLetter} {
				if to != nil {
					made.addresses[to.URL.String()] = true
				}
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, host := range made.hosts {
		h.channels.SetChannelHandler(host, handlers[host])
	}
	old, had := h.applied[owner]
	h.applied[owner] = made
	if had {
		h.forget(old)
	}
	return nil
}

// Remove takes the channels of an owner away. Events that are on their way run on to the
// next channel, which is not there.
func (h *Hub) Remove(owner string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(owner)
}

// Owners are those whose channels there are, in order.
func (h *Hub) Owners() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.applied))
}

func (h *Hub) remove(owner string) {
	old := h.applied[owner]
	delete(h.applied, owner)
	h.forget(old)
}

// forget removes what nobody has any more. Called with mu held.
func (h *Hub) forget(old installed) {
	hosts, addresses := map[string]bool{}, map[string]bool{}
	for _, other := range h.applied {
		for _, host := range other.hosts {
			hosts[host] = true
		}
		maps.Copy(addresses, other.addresses)
	}
	for _, host := range old.hosts {
		if !hosts[host] {
			h.channels.DeleteChannelHandler(host)
		}
	}
	for address := range old.addresses {
		if u, err := apis.ParseURL(address); err == nil && !addresses[address] {
			kncloudevents.DeleteAddressableHandler(duckv1.Addressable{URL: u}) // the dispatcher would keep it for ever
		}
	}
}

// subscriptions are those of all objects, by channel, as Knative's controllers make them.
func (h *Hub) subscriptions(ctx context.Context, objects Objects) (map[string][]fanout.Subscription, error) {
	var all []*messagingv1.Subscription
	var faults []error
	known := map[string]bool{}
	for _, s := range objects.Sequences {
		if err := s.Validate(ctx); err != nil {
			faults = append(faults, fmt.Errorf("Sequence %s: %w", s.Name, err))
			continue
		}
		faults = append(faults, plain("Sequence", s.Name, s.Spec.ChannelTemplate))
		for i := range s.Spec.Steps {
			all = append(all, sequenceresources.NewSubscription(i, s))
			known[sequenceresources.SequenceChannelName(s.Name, i)] = true
		}
	}
	for _, p := range objects.Parallels {
		if err := p.Validate(ctx); err != nil {
			faults = append(faults, fmt.Errorf("the Parallel %s: %w", p.Name, err))
			continue
		}
		faults = append(faults, plain("Parallel", p.Name, p.Spec.ChannelTemplate))
		known[parallelresources.ParallelChannelName(p.Name)] = true
		for i := range p.Spec.Branches {
			all = append(all, parallelresources.NewFilterSubscription(i, p), parallelresources.NewSubscription(i, p))
			known[parallelresources.ParallelBranchChannelName(p.Name, i)] = true
		}
	}
	for _, s := range objects.Subscriptions {
		if !known[s.Spec.Channel.Name] {
			faults = append(faults, fmt.Errorf("the Subscription %s: channel %q is not of these objects", s.Name, s.Spec.Channel.Name))
		}
	}
	found := map[string][]fanout.Subscription{}
	for _, s := range append(all, objects.Subscriptions...) {
		one, err := h.subscription(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("the Subscription %s: %w", s.Name, err))
			continue
		}
		found[s.Spec.Channel.Name] = append(found[s.Spec.Channel.Name], *one)
	}
	return found, errors.Join(faults...)
}

// plain refuses what a template may say beyond the kind of its channels.
func plain(kind, name string, template *messagingv1.ChannelTemplateSpec) error {
	if template != nil && template.Spec != nil && string(template.Spec.Raw) != "" {
		return fmt.Errorf("%s %s: spec.channelTemplate.spec cannot be honoured here; leave it out", kind, name)
	}
	return nil
}

// subscription resolves the destinations of one.
func (h *Hub) subscription(s *messagingv1.Subscription) (*fanout.Subscription, error) {
	spec := eventingduckv1.SubscriberSpec{Name: &s.Name, UID: s.UID}
	var err error
	if spec.SubscriberURI, err = h.resolve(s.Spec.Subscriber); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	if spec.SubscriberURI == nil {
		return nil, errors.New("subscriber: expected a ref")
	}
	if spec.ReplyURI, err = h.resolve(s.Spec.Reply); err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if s.Spec.Delivery != nil {
		spec.Delivery = s.Spec.Delivery.DeepCopy()
		if sink := spec.Delivery.DeadLetterSink; sink != nil {
			where, err := h.resolve(sink)
			if err != nil {
				return nil, fmt.Errorf("delivery.deadLetterSink: %w", err)
			}
			spec.Delivery.DeadLetterSink = &duckv1.Destination{URI: where}
		}
	}
	one, err := fanout.SubscriberSpecToFanoutConfig(spec)
	if err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	one.Namespace = h.config.Namespace
	return one, nil
}

// resolve is where a destination is: a ref of a Service, a channel, a Sequence or a
// Parallel, with a URI relative to it where there is one. Others are not reached from
// here.
func (h *Hub) resolve(d *duckv1.Destination) (*apis.URL, error) {
	if d == nil {
		return nil, nil //nolint:nilnil // no destination has no URL
	}
	if d.Ref == nil {
		return nil, fmt.Errorf("expected a ref, got the uri %s", d.URI)
	}
	if d.Ref.Namespace != "" && d.Ref.Namespace != h.config.Namespace {
		return nil, fmt.Errorf("namespace %q: there is %q alone", d.Ref.Namespace, h.config.Namespace)
	}
	host := d.Ref.Name
	switch group, _, _ := strings.Cut(d.Ref.APIVersion, "/"); {
	case d.Ref.Kind == "Service" && (group == "v1" || group == "serving.knative.dev"):
	case strings.HasSuffix(d.Ref.Kind, "Channel") && group == "messaging.knative.dev":
		host += channelSuffix
	case d.Ref.Kind == "Sequence" && group == "flows.knative.dev":
		host = sequenceresources.SequenceChannelName(host, 0) + channelSuffix
	case d.Ref.Kind == "Parallel" && group == "flows.knative.dev":
		host = parallelresources.ParallelChannelName(host) + channelSuffix
	default:
		return nil, fmt.Errorf("ref to %s %s: expected a Service, a channel, a Sequence or a Parallel", d.Ref.APIVersion, d.Ref.Kind)
	}
	base, err := url.Parse(h.base + host + h.domain() + "/")
	if err != nil {
		return nil, fmt.Errorf("ref to %q: %w", d.Ref.Name, err)
	}
	if d.URI != nil {
		relative := d.URI.URL()
		if relative.IsAbs() || relative.Host != "" {
			return nil, fmt.Errorf("uri %s: expected one relative to the ref", d.URI)
		}
		relative.Path = strings.TrimPrefix(relative.Path, "/") // from the object, not from the hub
		base = base.ResolveReference(relative)
	}
	return apis.ParseURL(base.String()) //nolint:wrapcheck // it was a URL already
}
