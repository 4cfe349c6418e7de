package knative

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/runtime/model"
)

// modelsVariable lists which models a revision serves, when its value is written
// in the manifest. One that comes from elsewhere is not looked for: that would
// need the right to read ConfigMaps and Secrets.
const modelsVariable = "MODELSERVE_MODELS"

// everyModel is its value in the pool.
const everyModel = "*"

// service is what is needed of a Knative Service.
type service struct {
	uid     types.UID
	url     string   // inside the cluster; "" until Knative has one
	traffic []target // in force, not only asked for
	routed  bool     // the ingress has announced it, now or before: Knative publishes the traffic first
	pending bool     // it never did, and may yet
	created string   // its newest revision
	ready   verdict
}

// target is a revision with its share of the traffic in percent, which may be
// 0, and its tag, which may be none.
type target struct {
	revision, tag string
	percent       int64
}

// revision is what is needed of a Knative Revision.
type revision struct {
	uid      types.UID
	models   []model.Ref
	every    bool // it serves every published model
	ready    verdict
	replicas int32 // that are ready; 0 where that is not known
}

// verdict is a Ready condition.
type verdict struct {
	known, good bool   // neither while it is not decided
	message     string // of one that is not good, in one line
	why         string // it was bad at last, while it is not good
}

func (v verdict) bad() bool { return v.known && !v.good }

// gaveUp reports whether a reason is no more than that it took too long: the first
// is the Deployment's, the second Knative's once it has brought the revision to
// zero, and dropped with the pod why that did not come up.
func gaveUp(reason string) bool {
	return strings.Contains(reason, "has timed out progressing") || strings.Contains(reason, "Initial scale was never achieved")
}

// after is v, whose message is that of the verdict before it, of the same revision,
// where its own is only that Knative gave it up.
func (v verdict) after(before verdict) verdict {
	switch {
	case v.good:
	case !v.known:
		v.why = before.why
	case before.why != "" && gaveUp(v.message):
		v.message, v.why = before.why, before.why
	default:
		v.why = v.message
	}
	return v
}

func readService(o *unstructured.Unstructured, before service) (service, error) {
	var typed servingv1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed); err != nil {
		return service{}, fmt.Errorf("is not as Knative's API has it: %w", err)
	}
	if before.uid != o.GetUID() {
		before = service{} // another's, of the same name
	}
	routes := readVerdict(typed.Status.GetCondition(servingv1.ServiceConditionRoutesReady))
	s := service{
		uid:     o.GetUID(),
		routed:  before.routed || routes.good,
		pending: !before.routed && !routes.known,
		created: typed.Status.LatestCreatedRevisionName,
		ready:   readVerdict(typed.Status.GetCondition(servingv1.ServiceConditionReady)),
	}
	// Where nothing was ever ready, Ready has no other message.
	if cause := readVerdict(typed.Status.GetCondition(servingv1.ServiceConditionConfigurationsReady)); s.ready.bad() && cause.bad() && cause.message != "" {
		s.ready.message = cause.message
	}
	if before.created != s.created {
		before.ready = verdict{}
	}
	s.ready = s.ready.after(before.ready)
	if a := typed.Status.Address; a != nil && a.URL != nil {
		s.url = a.URL.String()
	}
	for _, t := range typed.Status.Traffic {
		at := target{revision: t.RevisionName, tag: t.Tag}
		if t.Percent != nil {
			at.percent = *t.Percent
		}
		s.traffic = append(s.traffic, at)
	}
	return s, nil
}

func readRevision(o *unstructured.Unstructured, before revision) (revision, error) {
	var typed servingv1.Revision
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed); err != nil {
		return revision{}, fmt.Errorf("is not as Knative's API has it: %w", err)
	}
	r := revision{uid: o.GetUID(), ready: readVerdict(typed.Status.GetCondition(servingv1.RevisionConditionReady))}
	if before.uid != r.uid {
		before = revision{} // another's, of the same name
	}
	r.ready = r.ready.after(before.ready)
	r.models, r.every = readModels(typed.Spec.Containers)
	if n := typed.Status.ActualReplicas; n != nil {
		r.replicas = *n
	}
	return r, nil
}

// readModels reads modelsVariable of the container that has it. What is no
// name@version is for the function to report.
func readModels(containers []corev1.Container) (pins []model.Ref, every bool) {
	for _, c := range containers {
		for _, e := range c.Env {
			if e.Name != modelsVariable {
				continue
			}
			if strings.TrimSpace(e.Value) == everyModel {
				return nil, true
			}
			for text := range strings.SplitSeq(e.Value, ",") {
				pin, err := model.ParsePinned(strings.TrimSpace(text))
				if err == nil && !slices.Contains(pins, pin) {
					pins = append(pins, pin)
				}
			}
			return pins, false
		}
	}
	return nil, false
}

// maxMessage bounds the message of a failure, in bytes: Kubernetes keeps 4 KiB of
// a container's.
const maxMessage = 4 << 10

// readVerdict reads a condition. That something of the name is not the object's own
// is no verdict yet: a Service that is made anew finds what the one before it, which
// was deleted a moment ago, has left.
func readVerdict(c *apis.Condition) verdict {
	switch {
	case c == nil:
		return verdict{}
	case c.IsTrue():
		return verdict{known: true, good: true}
	}
	text := c.Message
	if text == "" {
		text = c.Reason
	}
	text = strings.Join(strings.Fields(withoutLog(text)), " ")
	known := !c.IsUnknown() && c.Reason != servingv1.ReasonNotOwned
	return verdict{known: known, message: strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")}
}

// withoutLog is a message without what a container logged last, which Kubernetes has
// in it where the container wrote no reason (terminationMessagePolicy): callers read
// it, and a log has what is others'. A reason that a function wrote is kept.
func withoutLog(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if at := logged.FindStringSubmatchIndex(trimmed); at != nil {
			return strings.Join(append(kept, trimmed[:at[2]]+"the container's log has the reason"), " ")
		}
		kept = append(kept, trimmed)
	}
	return strings.Join(kept, " ")
}

// logged is what a line of a log begins with, ours or one that the Go runtime writes of
// a crash, where a message is no more a sentence.
//
//nolint:gochecknoglobals // compiled once, and constant
var logged = regexp.MustCompile(`(?:^|: )(\{"|time=|panic: |fatal error: |goroutine \d+ |SIG[A-Z]+: |runtime: |\[signal |\d{4}[-/]\d\d[-/]\d\d)`)
