package knative

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelserveai/modelserve/pipelines/compile"
)

// sequenceKind is the kind that events are posted to the channels of.
const sequenceKind = "Sequence"

// kind is one of the kinds of objects.
type kind struct {
	name     string
	resource schema.GroupVersionResource
}

// kinds are all of them, in the order in which they are applied.
func kinds() []kind {
	return []kind{
		{sequenceKind, schema.GroupVersionResource{Group: "flows.knative.dev", Version: "v1", Resource: "sequences"}},
		{"Parallel", schema.GroupVersionResource{Group: "flows.knative.dev", Version: "v1", Resource: "parallels"}},
		{"Subscription", schema.GroupVersionResource{Group: "messaging.knative.dev", Version: "v1", Resource: "subscriptions"}},
	}
}

// differs reports how a live object is not as it must be; "" where it is. Labels and
// annotations beside ours are others' own.
func differs(want, live *unstructured.Unstructured) string {
	for name, texts := range map[string][2]map[string]string{
		"label":      {want.GetLabels(), live.GetLabels()},
		"annotation": {want.GetAnnotations(), live.GetAnnotations()},
	} {
		for key, value := range texts[0] {
			if got, ok := texts[1][key]; !ok || got != value {
				return name + " " + key
			}
		}
	}
	if !equality.Semantic.DeepEqual(want.Object["spec"], live.Object["spec"]) {
		return "spec"
	}
	return ""
}

// another reports whether a live object was made of another definition: it is then made
// anew, for not every change of an object is one that Knative carries out.
func another(want, live *unstructured.Unstructured) bool {
	got := live.GetAnnotations()[compile.AnnotationDigest]
	return got != "" && got != want.GetAnnotations()[compile.AnnotationDigest]
}

// versionOf is the version that a live object is of.
func versionOf(live *unstructured.Unstructured) Version {
	labels := live.GetLabels()
	number, err := strconv.Atoi(labels[compile.LabelVersion])
	if err != nil {
		return Version{} // of none
	}
	return Version{Owner: labels[compile.LabelTenant], Name: labels[compile.LabelPipeline], Number: number}
}

// isOurs reports whether an object is one that is kept.
func isOurs(o *unstructured.Unstructured) bool {
	return o.GetLabels()[compile.ManagedBy] == compile.Manager
}

// maxReason bounds a reason, in bytes.
const maxReason = 1 << 10

// verdict is an object's condition Ready, of the generation that it has now.
func verdict(live *unstructured.Unstructured) (good bool, reason string) {
	if live.GetDeletionTimestamp() != nil {
		return false, deleting
	}
	observed, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || condition["type"] != "Ready" {
			continue
		}
		if observed < live.GetGeneration() {
			break
		}
		if condition["status"] == "True" {
			return true, ""
		}
		why, _ := condition["reason"].(string)
		message, _ := condition["message"].(string)
		reason = strings.Join(strings.Fields(strings.TrimSuffix(why+": "+message, ": ")), " ")
		if reason = strings.TrimPrefix(reason, ": "); reason != "" {
			return false, strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
		}
	}
	return false, "Knative has not reported on it yet"
}

// address is where a step's channel of a Sequence takes events. Knative reports that of
// the first; the others' differ in their names.
func address(live *unstructured.Unstructured, name string, step int, c Config) (url, host string) {
	text, _, _ := unstructured.NestedString(live.Object, "status", "address", "url")
	scheme, first, ok := strings.Cut(strings.TrimSuffix(text, "/"), "://")
	rest, isFirst := strings.CutPrefix(first, compile.Channel(name, 0)+".")
	between := "."
	if !isFirst {
		between = "-kn-channel."
		rest, isFirst = strings.CutPrefix(first, compile.Channel(name, 0)+between)
	}
	if !ok || !isFirst {
		host = compile.Host(compile.Channel(name, step), c.Namespace, c.Domain)
		return "http://" + host + "/", host
	}
	host = compile.Channel(name, step) + between + rest
	return fmt.Sprintf("%s://%s/", scheme, host), host
}
