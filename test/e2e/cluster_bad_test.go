//go:build e2e

package e2e

import (
	"errors"
	"strings"
	"testing"
)

// These give the cluster what it has to refuse. Each has services of its own and
// waits most of the time: they are parallel.

// TestClusterAModelThatCannotLoad makes a revision of a model that is not published: it
// never takes traffic, its reason can be read, and the old one goes on.
func TestClusterAModelThatCannotLoad(t *testing.T) {
	t.Parallel()
	p := cluster(t)
	const service = "e2e-bad"
	pushScale(t, p, service, 1)
	if err := knService(t, "apply", service, imageOf(t, "pool"), service+"@1"); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "version 1 answers", func() error { return p.wantScale(t, p.Host(service), service, 1) })
	err := knService(t, "apply", service, imageOf(t, "pool"), service+"@99",
		"--annotation", "serving.knative.dev/progress-deadline=60s", "--wait-timeout", "120")
	if err == nil {
		t.Error("a revision of a model that does not exist became ready")
	}
	described := mustTool(t, "kubectl", "describe", "ksvc", service)
	if !strings.Contains(described, "has no published version 99") {
		t.Errorf("no reason in:\n%s\nkn returned: %v", described, err)
	}
	if err := p.wantScale(t, p.Host(service), service, 1); err != nil {
		t.Errorf("what ran before: %v", err)
	}
}

// TestClusterBadManifests applies what cannot be over a service that runs: the error
// names what is wrong, and what ran before still runs.
func TestClusterBadManifests(t *testing.T) {
	t.Parallel()
	p := cluster(t)
	const model = "e2e-manifest"
	pushScale(t, p, model, 1)
	image := imageOf(t, "pool")
	for name, tc := range map[string]struct {
		service string
		spec    string
		refused string // by Kubernetes, at once
		reason  string // in the Service's status
	}{
		"a misspelt field": {
			service: "e2e-misspelt",
			spec:    `{containerConcurency: 3, containers: [{image: "` + image + `"}]}`,
			refused: "containerConcurency",
		},
		"an image that cannot be pulled": {
			service: "e2e-no-image",
			spec:    `{containers: [{image: "registry.invalid/none:1"}]}`,
			reason:  `Unable to fetch image "registry.invalid/none:1"`,
		},
		"more than the quota": {
			service: "e2e-quota",
			spec:    `{containers: [{image: "` + image + `", resources: {requests: {memory: 100Gi}}}]}`,
			reason:  "exceeded quota: modelserve",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := knService(t, "apply", tc.service, image, model+"@1"); err != nil {
				t.Fatal(err)
			}
			runs := func() error { return p.wantScale(t, p.Host(tc.service), model, 1) }
			p.eventually(t, "it answers before", runs)
			manifest := "apiVersion: serving.knative.dev/v1\nkind: Service\n" +
				"metadata: {name: " + tc.service + ", labels: {networking.knative.dev/visibility: cluster-local}}\n" +
				"spec: {template: {spec: " + tc.spec + "}}\n"
			out, err := tool(t, manifest, "kubectl", "apply", "-f", "-")
			switch {
			case tc.refused != "" && (err == nil || !strings.Contains(out, tc.refused)):
				t.Errorf("%v, want %s in:\n%s", err, tc.refused, out)
			case tc.refused == "" && err != nil:
				t.Fatalf("%v\n%s", err, out)
			case tc.refused == "":
				p.eventually(t, "the service reports why", func() error {
					out, err := kubectl(t, "describe", "ksvc", tc.service)
					if err == nil && !strings.Contains(out, tc.reason) {
						err = errors.New(out)
					}
					return err
				})
			}
			if err := runs(); err != nil {
				t.Errorf("what ran before: %v", err)
			}
		})
	}
}
