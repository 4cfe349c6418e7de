// Package knative finds for the gateway where functions are in a cluster: it
// watches the Knative Services and Revisions of some namespaces and puts them
// in force as routes. It also knows which are at zero, so that a request that
// may wake nothing wakes nothing.
//
// It only reads: its account needs get, list and watch of services and revisions
// of serving.knative.dev, and nothing else. It starts and scales nothing.
package knative

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Scheme begins a setting that means this package and not a file:
// "knative:NAMESPACE[,NAMESPACE]…".
const Scheme = "knative:"

// Namespaces reads such a setting. ok is false for one that does not begin with
// Scheme.
func Namespaces(setting string) (namespaces []string, ok bool, err error) {
	list, ok := strings.CutPrefix(setting, Scheme)
	if !ok {
		return nil, false, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		name, err := infer.ParseName(strings.TrimSpace(name))
		if err != nil {
			return nil, true, fmt.Errorf("expected %sNAMESPACE,…, got %q", Scheme, setting)
		}
		if !slices.Contains(namespaces, name) {
			namespaces = append(namespaces, name)
		}
	}
	return namespaces, true, nil
}

// Config is what is watched.
type Config struct {
	// Namespaces are watched. Where functions of two want the same host, the one
	// of the namespace that comes first has it.
	Namespaces []string

	// Self is the gateway's own Service, which is no function: a request to it
	// would come round again. The zero one is none.
	Self Name
}

// Name is a Service's.
type Name struct{ Namespace, Name string }

// group and version of what is watched.
const apiVersion = "serving.knative.dev/v1"

func resource(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "serving.knative.dev", Version: "v1", Resource: plural}
}
