package manifest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// honoured are the paths of a Service that may be set. '*' is any one key and
// '[]' any element of a list; a path covers nothing below itself unless it
// ends in '**'. All else that is set is rejected by name, fields that future
// versions of Knative bring included.
var honoured = []string{ //nolint:gochecknoglobals // a constant, but Go has no constant slices
	"apiVersion", "kind",
	"metadata.name", "metadata.namespace", "metadata.labels.*", "metadata.annotations.*",
	"spec.template.metadata.name", "spec.template.metadata.labels.*", "spec.template.metadata.annotations.*",
	"spec.template.spec.containerConcurrency", "spec.template.spec.timeoutSeconds",
	"spec.template.spec.containers[].name", "spec.template.spec.containers[].image",
	"spec.template.spec.containers[].args[]",
	"spec.template.spec.containers[].env[].name", "spec.template.spec.containers[].env[].value",
	"spec.template.spec.containers[].env[].valueFrom.configMapKeyRef.**",
	"spec.template.spec.containers[].env[].valueFrom.secretKeyRef.**",
	"spec.template.spec.containers[].envFrom[].prefix",
	"spec.template.spec.containers[].envFrom[].configMapRef.**",
	"spec.template.spec.containers[].envFrom[].secretRef.**",
	"spec.template.spec.containers[].ports[].name",
	"spec.template.spec.containers[].ports[].containerPort",
	"spec.template.spec.containers[].ports[].protocol",
	"spec.template.spec.containers[].readinessProbe.httpGet.path",
	"spec.template.spec.containers[].readinessProbe.httpGet.scheme",
	"spec.template.spec.containers[].readinessProbe.httpGet.httpHeaders[].**",
	"spec.template.spec.containers[].readinessProbe.tcpSocket",
	"spec.template.spec.containers[].readinessProbe.grpc.service",
	"spec.template.spec.containers[].readinessProbe.initialDelaySeconds",
	"spec.template.spec.containers[].readinessProbe.periodSeconds",
	"spec.template.spec.containers[].readinessProbe.timeoutSeconds",
	"spec.template.spec.containers[].readinessProbe.successThreshold",
	"spec.template.spec.containers[].readinessProbe.failureThreshold",
	"spec.template.spec.containers[].resources.requests.cpu",
	"spec.template.spec.containers[].resources.requests.memory",
	"spec.template.spec.containers[].resources.limits.cpu",
	"spec.template.spec.containers[].resources.limits.memory",
	"spec.traffic[].revisionName", "spec.traffic[].latestRevision", "spec.traffic[].percent", "spec.traffic[].tag",
}

// honouredAnnotations are Knative's own that have an effect here. Others of its
// domains are rejected; those of other domains are anybody's.
var honouredAnnotations = map[string]bool{ //nolint:gochecknoglobals // a constant, but Go has no constant maps
	"autoscaling.knative.dev/class":                              true,
	"autoscaling.knative.dev/metric":                             true,
	"autoscaling.knative.dev/target":                             true,
	"autoscaling.knative.dev/target-utilization-percentage":      true,
	"autoscaling.knative.dev/min-scale":                          true,
	"autoscaling.knative.dev/max-scale":                          true,
	"autoscaling.knative.dev/initial-scale":                      true,
	"autoscaling.knative.dev/activation-scale":                   true,
	"autoscaling.knative.dev/window":                             true,
	"autoscaling.knative.dev/scale-down-delay":                   true,
	"autoscaling.knative.dev/panic-window-percentage":            true,
	"autoscaling.knative.dev/panic-threshold-percentage":         true,
	"autoscaling.knative.dev/scale-to-zero-pod-retention-period": true,
	"autoscaling.knative.dev/target-burst-capacity":              true, // every call comes through the activator
	"serving.knative.dev/progress-deadline":                      true,
	"serving.knative.dev/creator":                                true, // these three are notes of the API server and of kn
	"serving.knative.dev/lastModifier":                           true,
	"client.knative.dev/user-image":                              true,
	"client.knative.dev/updateTimestamp":                         true,
}

// honouredValues are the values an otherwise honoured path may have.
var honouredValues = map[string][]string{ //nolint:gochecknoglobals // a constant, but Go has no constant maps
	"autoscaling.knative.dev/class":  {"kpa.autoscaling.knative.dev"},
	"autoscaling.knative.dev/metric": {"concurrency", "rps"},
}

// instead is what there is in place of a field that is not honoured; the
// longest prefix of its path counts.
var instead = map[string]string{ //nolint:gochecknoglobals // a constant, but Go has no constant maps
	"spec.template.spec.volumes":                      "emptyDir may be said; a function is a process here and sees this machine's files",
	"spec.template.spec.containers[].volumeMounts":    "name and mountPath may be said; a function is a process here and sees this machine's files",
	"spec.template.spec.initContainers":               "a function is one process here",
	"spec.template.spec.containers[].command":         "the command is the program that is built from the image's import path; args are passed on",
	"spec.template.spec.containers[].workingDir":      "functions run in the folder of the platform",
	"spec.template.spec.containers[].securityContext": "what confines a container may be said; functions run as the user who runs the platform",
	"spec.template.spec.securityContext":              "functions run as the user who runs the platform",
	"spec.template.spec.containers[].resources":       "cpu and memory are honoured; for a GPU set MODELSERVE_DEVICE",
	"spec.template.spec.containers[].livenessProbe":   "a process that ends is started again; readinessProbe is honoured",
	"spec.template.spec.containers[].startupProbe":    "readinessProbe is honoured",
	"spec.template.spec.containers[].readinessProbe":  "httpGet, tcpSocket and grpc on the port that is given as PORT are honoured",
	"spec.template.spec.responseStartTimeoutSeconds":  "timeoutSeconds is honoured",
	"spec.template.spec.idleTimeoutSeconds":           "timeoutSeconds is honoured",
	"status":                                          "the platform sets it",
}

// unsupported lists the fields of a Service's JSON that are set and cannot be
// honoured here.
func unsupported(object []byte) []error {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	var root map[string]any
	if err := decoder.Decode(&root); err != nil {
		return []error{err}
	}
	c := checker{}
	c.walk(nil, nil, root)
	if list, _ := dig(root, "spec", "template", "spec", "containers").([]any); len(list) > 1 {
		c.faults = append(c.faults, errors.New("spec.template.spec.containers: more than one is not supported by the local platform; a function is one process here"))
	}
	return c.faults
}

type checker struct{ faults []error }

// walk visits set leaves; pattern is path with list indices left out, as
// honoured writes them.
func (c *checker) walk(path, pattern []string, value any) {
	if value == nil {
		return
	}
	joined := join(pattern)
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 && len(path) > 0 {
			return // sets nothing
		}
		if matches(joined) {
			return
		}
		if where, opaque := opaqueAt(joined); opaque {
			c.reject(path, where)
			return
		}
		for _, key := range sortedKeys(v) {
			c.walk(append(path[:len(path):len(path)], key), append(pattern[:len(pattern):len(pattern)], key), v[key])
		}
	case []any:
		if where, opaque := opaqueAt(joined); opaque && len(v) > 0 {
			c.reject(path, where)
			return
		}
		for i, element := range v {
			p, q := clone(path), clone(pattern)
			p[len(p)-1] += "[" + strconv.Itoa(i) + "]"
			q[len(q)-1] += "[]"
			c.walk(p, q, element)
		}
	default:
		if !matches(joined) {
			where, _ := opaqueAt(joined)
			c.reject(path, where)
			return
		}
		c.annotation(path, value)
	}
}

// annotation checks an annotation's key and value.
func (c *checker) annotation(path []string, value any) {
	n := len(path)
	if n < 3 || path[n-2] != "annotations" {
		return
	}
	key := path[n-1]
	domain, _, _ := strings.Cut(key, "/")
	if strings.HasSuffix(domain, "knative.dev") && !honouredAnnotations[key] {
		c.reject(path, "")
		return
	}
	text, _ := value.(string)
	allowed, ok := honouredValues[key]
	for _, a := range allowed {
		ok = ok && a != text
	}
	if ok {
		c.faults = append(c.faults, fmt.Errorf("%s: %q is not supported by the local platform; expected %s",
			display(path), text, strings.Join(allowed, " or ")))
	}
}

func (c *checker) reject(path []string, where string) {
	message := display(path) + ": not supported by the local platform"
	if hint := instead[where]; hint != "" {
		message += "; " + hint
	}
	c.faults = append(c.faults, errors.New(message))
}

// opaqueAt finds the longest prefix of pattern that instead has. It is
// opaque when nothing below pattern is honoured: then the field is named as a
// whole and not leaf by leaf.
func opaqueAt(pattern string) (where string, opaque bool) {
	for prefix := range instead {
		if (pattern == prefix || strings.HasPrefix(pattern, prefix+".") || strings.HasPrefix(pattern, prefix+"[")) && len(prefix) > len(where) {
			where = prefix
		}
	}
	for _, list := range [][]string{honoured, confining} {
		for _, h := range list {
			if strings.HasPrefix(h, pattern) || pattern == "" {
				return where, false
			}
		}
	}
	return where, true
}

// matches reports whether pattern may be set.
func matches(pattern string) bool {
	for _, list := range [][]string{honoured, confining} {
		for _, h := range list {
			if match(strings.Split(h, "."), pattern) {
				return true
			}
		}
	}
	return false
}

// match compares with the keys of pattern, of which the last may hold dots.
func match(want []string, pattern string) bool {
	for i, w := range want {
		switch w {
		case "**":
			return pattern != ""
		case "*":
			return pattern != "" && i == len(want)-1
		}
		var key string
		key, pattern, _ = strings.Cut(pattern, ".")
		if key != w {
			return false
		}
	}
	return pattern == ""
}

func join(keys []string) string { return strings.Join(keys, ".") }

// display writes a path as people do, quoting keys that hold dots.
func display(path []string) string {
	var b strings.Builder
	for i, key := range path {
		switch {
		case strings.Contains(key, "."):
			b.WriteString("[" + strconv.Quote(key) + "]")
		case i > 0:
			b.WriteString("." + key)
		default:
			b.WriteString(key)
		}
	}
	return b.String()
}

func dig(value any, keys ...string) any {
	for _, key := range keys {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	return value
}

func clone(s []string) []string { return append([]string(nil), s...) }

func newBufferedReader(text []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(text)) }
