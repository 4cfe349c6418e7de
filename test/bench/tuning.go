package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// setting is something a user may set of a Service, or has from the cluster, that
// may change how long the first answer from zero takes.
type setting struct {
	name   string // of the service
	what   string
	change string // to the floor's manifest (RFC 6902)
}

// settings are tried on the service that loads nothing, where nothing hides them.
func settings() []setting {
	const (
		container = "/spec/template/spec/containers/0"
		notes     = "/spec/template/metadata/annotations/"
	)
	return []setting{
		{"bench-as-it-is", "as a function of config/ is", `[]`},
		{"bench-token", "the token of its service account, as Kubernetes gives it to every pod", withToken},
		{"bench-volume", "an emptyDir at /tmp", `[
			{"op": "add", "path": "/spec/template/spec/volumes", "value": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]},
			{"op": "add", "path": "` + container + `/volumeMounts", "value": [{"name": "tmp", "mountPath": "/tmp"}]}]`},
		{"bench-probe-second", "readinessProbe.periodSeconds: 1, by the kubelet", `[
			{"op": "add", "path": "` + container + `/readinessProbe/periodSeconds", "value": 1}]`},
		{"bench-more-cpu", "requests.cpu: 500m, and 200m for queue-proxy", `[
			{"op": "replace", "path": "` + container + `/resources/requests/cpu", "value": "500m"},
			{"op": "add", "path": "` + notes + `queue.sidecar.serving.knative.dev~1cpu-resource-request", "value": "200m"}]`},
		{"bench-always-pull", "imagePullPolicy: Always", `[
			{"op": "add", "path": "` + container + `/imagePullPolicy", "value": "Always"}]`},
		{"bench-links", "enableServiceLinks: true", `[
			{"op": "add", "path": "/spec/template/spec/enableServiceLinks", "value": true}]`},
		{"bench-no-activator", "target-burst-capacity: 0 (the activator leaves the path once there is a pod)", `[
			{"op": "add", "path": "` + notes + `autoscaling.knative.dev~1target-burst-capacity", "value": "0"}]`},
	}
}

// tuning wakes the service that loads nothing as a function is, and with one
// thing set otherwise each, in turns.
func (o *options) tuning(ctx context.Context, _ *platform, _ string) (rows []row, err error) {
	if os.Getenv("KUBECONFIG") == "" || os.Getenv("GATEWAY_URL") == "" {
		return nil, errNoCluster
	}
	defer func() { err = errors.Join(err, removeFloors(ctx)) }()
	var all []*sleeper
	for _, s := range settings() {
		if err := applyFloor(ctx, s.name, s.change); err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
		all = append(all, &sleeper{name: s.name, file: "go.mod", contentType: "application/octet-stream"})
	}
	if err := o.wakeAll(ctx, all); err != nil {
		return nil, err
	}
	printStarts(all)
	for i, s := range settings()[1:] {
		rows = append(rows, row{"first answer from zero, " + s.what, settings()[0].what, spread(ratios(all[i+1].totals(), all[0].totals())), "—", true})
	}
	return rows, nil
}

// totals are the first answers' times, by round, in seconds.
func (s *sleeper) totals() (found []float64) {
	for _, c := range s.starts {
		found = append(found, c.total.Seconds())
	}
	return found
}
