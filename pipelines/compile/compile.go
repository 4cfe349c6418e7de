// Package compile makes Knative's objects of a plan: a Sequence for each segment of our
// own steps, a Parallel where a fork's branches are all such segments, and Subscriptions
// that see what passes between the steps.
//
// It is pure: the same plan and target have the same objects, byte for byte. Applying
// them is package knative's.
package compile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// The paths of the pipelines service that events come to.
const (
	ReplyPath = "/events/reply" // the answer of a segment's last step
	DeadPath  = "/events/dead"  // what a step did not take
	TapPath   = "/events/tap"   // what passes between two steps
)

// What the objects carry.
const (
	ManagedBy   = "app.kubernetes.io/managed-by" // label; its value is Manager
	Manager     = "modelserve-pipelines"
	LabelTenant = "pipelines.modelserve.dev/tenant"
	// LabelPipeline is the pipeline's name.
	LabelPipeline = "pipelines.modelserve.dev/pipeline"
	// LabelVersion is the version's number.
	LabelVersion = "pipelines.modelserve.dev/version"
	// LabelSegment is the index of the plan's segment, of Sequences and taps.
	LabelSegment = "pipelines.modelserve.dev/segment"
	// AnnotationDigest is the digest of the definition that an object was made of.
	AnnotationDigest = "pipelines.modelserve.dev/digest"
	// AnnotationPlan has the plans of an object's steps, each on a line, whose SHA-256 is in
	// the step's address. It is for whoever reads it; nothing reads it back.
	AnnotationPlan = "pipelines.modelserve.dev/plan"
)

// maxPlan bounds the text of AnnotationPlan, in bytes: Kubernetes takes 256 KiB of
// annotations in an object. Steps past it have their names alone.
const maxPlan = 64 << 10

// Version is a version of a tenant's pipeline.
type Version struct {
	Tenant, Pipeline string
	Number           int
	Digest           string // of the definition
}

// Function is where a function answers.
type Function struct {
	Service string // the Knative Service, in the target's namespace
	Model   bool   // the name is a published model's, which that Service serves
}

// Target is where the objects are to be.
type Target struct {
	Namespace string // of the objects, of the functions and of the pipelines service
	// Functions has every function that a step of the plan names.
	Functions map[string]Function
	// Service is the pipelines service: its reference without a namespace.
	Service duckv1.KReference
	// Owner, when set, is the object with which Kubernetes deletes these; it is in Namespace.
	Owner *metav1.OwnerReference
	// Channel is the kind of the channels; the zero one is Knative's in memory.
	Channel metav1.TypeMeta
}

// Signer signs what a step does into its address: a reference relative to the function's
// URL, below ticket.MaxAddress bytes.
type Signer interface {
	Address(digest string, p ticket.Plan) (string, error)
}

// Objects are what a version runs on.
type Objects struct {
	Sequences     []*flowsv1.Sequence         // by segment; none of segments outside
	Parallels     []*flowsv1.Parallel         // by fork
	Subscriptions []*messagingv1.Subscription // taps, by segment and step
}

// Of makes the objects of a version. The error names every step whose function the
// target does not have, or whose plan cannot be signed.
func Of(p *plan.Plan, v Version, t Target, signer Signer) (*Objects, error) {
	c := compiler{plan: p, version: v, target: t, signer: signer}
	if c.target.Channel == (metav1.TypeMeta{}) {
		c.target.Channel = InMemory()
	}
	objects := &Objects{}
	var faults []error
	for i, s := range p.Segments {
		if s.Outside {
			continue
		}
		sequence, err := c.sequence(i)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		objects.Sequences = append(objects.Sequences, sequence)
		for step := 1; step < len(s.Steps); step++ {
			objects.Subscriptions = append(objects.Subscriptions, c.tap(i, step))
		}
	}
	for i, fork := range p.Forks() {
		objects.Parallels = append(objects.Parallels, c.parallel(i, fork))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("compile %s version %d: %w", v.Pipeline, v.Number, err)
	}
	return objects, nil
}

// ServiceOf is the reference of a Kubernetes Service.
func ServiceOf(name string) duckv1.KReference {
	return duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: name}
}

// InMemory is Knative's channel in memory.
func InMemory() metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: messagingv1.SchemeGroupVersion.String(), Kind: "InMemoryChannel"}
}

// compiler is the work of one call of Of.
type compiler struct {
	plan    *plan.Plan
	version Version
	target  Target
	signer  Signer
}

func (c *compiler) sequence(segment int) (*flowsv1.Sequence, error) {
	s := &flowsv1.Sequence{
		TypeMeta:   metav1.TypeMeta{APIVersion: flowsv1.SchemeGroupVersion.String(), Kind: "Sequence"},
		ObjectMeta: c.meta(c.version.sequence(segment), segment),
		Spec: flowsv1.SequenceSpec{
			ChannelTemplate: &messagingv1.ChannelTemplateSpec{TypeMeta: c.target.Channel},
			Reply:           c.service(ReplyPath),
		},
	}
	var texts strings.Builder
	for i := range c.plan.Segments[segment].Steps {
		step := c.plan.Step(segment, i)
		function, ok := c.target.Functions[step.Function]
		if !ok {
			return nil, fmt.Errorf("step %s: there is no function %s", step.Name, step.Function)
		}
		does := plan.Ticket(step, function.Model)
		text, err := c.signer.Address(c.version.Digest, does)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		address, err := apis.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("step %s: its address: %w", step.Name, err)
		}
		s.Spec.Steps = append(s.Spec.Steps, flowsv1.SequenceStep{
			Destination: duckv1.Destination{
				Ref: &duckv1.KReference{APIVersion: "serving.knative.dev/v1", Kind: "Service", Namespace: c.target.Namespace, Name: function.Service},
				URI: address,
			},
			Delivery: &eventingduckv1.DeliverySpec{Retry: new(int32), DeadLetterSink: c.service(DeadPath)},
		})
		plan, err := does.Canonical()
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		if texts.Len()+len(plan) > maxPlan {
			plan = []byte(step.Name + ": …")
		}
		texts.Write(append(plan, '\n'))
	}
	s.Annotations[AnnotationPlan] = texts.String()
	return s, nil
}

// tap is a Subscription of the channel before a step of a segment: it sees the answer
// of the step before. One that fails is not sent again, and is nobody's dead letter.
func (c *compiler) tap(segment, step int) *messagingv1.Subscription {
	sequence := c.version.sequence(segment)
	return &messagingv1.Subscription{
		TypeMeta:   metav1.TypeMeta{APIVersion: messagingv1.SchemeGroupVersion.String(), Kind: "Subscription"},
		ObjectMeta: c.meta(sequence+"-tap-"+strconv.Itoa(step), segment),
		Spec: messagingv1.SubscriptionSpec{
			Channel: duckv1.KReference{
				APIVersion: c.target.Channel.APIVersion, Kind: c.target.Channel.Kind, Name: Channel(sequence, step),
			},
			Subscriber: c.service(TapPath),
			Delivery:   &eventingduckv1.DeliverySpec{Retry: new(int32)},
		},
	}
}

// parallel is a fork: its branches are the Sequences of segments, which answer by
// themselves. An event that a branch does not take is a dead letter, as a step's is.
func (c *compiler) parallel(fork int, segments []int) *flowsv1.Parallel {
	p := &flowsv1.Parallel{
		TypeMeta:   metav1.TypeMeta{APIVersion: flowsv1.SchemeGroupVersion.String(), Kind: "Parallel"},
		ObjectMeta: c.meta(c.version.parallel(fork), -1),
		Spec:       flowsv1.ParallelSpec{ChannelTemplate: &messagingv1.ChannelTemplateSpec{TypeMeta: c.target.Channel}},
	}
	names := make([]string, len(segments))
	for i, segment := range segments {
		names[i] = c.plan.Step(segment, 0).Name
		p.Spec.Branches = append(p.Spec.Branches, flowsv1.ParallelBranch{
			Subscriber: duckv1.Destination{Ref: &duckv1.KReference{
				APIVersion: flowsv1.SchemeGroupVersion.String(), Kind: "Sequence", Namespace: c.target.Namespace, Name: c.version.sequence(segment),
			}},
			Delivery: &eventingduckv1.DeliverySpec{Retry: new(int32), DeadLetterSink: c.service(DeadPath)},
		})
	}
	p.Annotations[AnnotationPlan] = "all of " + strings.Join(names, ", ") + "\n"
	return p
}

// meta is an object's metadata; segment -1 is of none.
func (c *compiler) meta(name string, segment int) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Namespace: c.target.Namespace, Name: name,
		Labels: map[string]string{
			ManagedBy: Manager, LabelTenant: c.version.Tenant, LabelPipeline: c.version.Pipeline, LabelVersion: strconv.Itoa(c.version.Number),
		},
		Annotations: map[string]string{AnnotationDigest: c.version.Digest},
	}
	if segment >= 0 {
		m.Labels[LabelSegment] = strconv.Itoa(segment)
	}
	if c.target.Owner != nil {
		m.OwnerReferences = []metav1.OwnerReference{*c.target.Owner}
	}
	return m
}

// service is a path of the pipelines service.
func (c *compiler) service(path string) *duckv1.Destination {
	ref := c.target.Service
	ref.Namespace = c.target.Namespace
	return &duckv1.Destination{Ref: &ref, URI: &apis.URL{Path: path}}
}
