//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// The sink of these tests is Eventing's own event display, in a pod whose log
// has what it got.
const eventing = `
apiVersion: v1
kind: Pod
metadata: {name: e2e-sink, labels: {app: e2e-sink}}
spec:
  containers:
    - name: sink
      image: ko://knative.dev/eventing/cmd/event_display
      ports: [{containerPort: 8080}]
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        seccompProfile: {type: RuntimeDefault}
---
apiVersion: v1
kind: Service
metadata: {name: e2e-sink}
spec:
  selector: {app: e2e-sink}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: e2e}
spec:
  delivery:
    retry: 1
    deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: e2e-sink}}
---
# An upload wakes content-detect; its answer goes back to the broker.
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: e2e-upload}
spec:
  broker: e2e
  filter: {attributes: {type: dev.modelserve.document.uploaded.v1}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: content-detect}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: e2e-answer}
spec:
  broker: e2e
  filter: {attributes: {type: dev.modelserve.content-detect.answered.v1}}
  subscriber: {ref: {apiVersion: v1, kind: Service, name: e2e-sink}}
---
# What no image can be made of is a function's error.
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: e2e-broken}
spec:
  broker: e2e
  filter: {attributes: {type: dev.modelserve.image.broken.v1}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: text-detect}}
---
# Somebody else's function, which appends to what it gets.
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: e2e-appender, labels: {networking.knative.dev/visibility: cluster-local}}
spec:
  template:
    spec:
      containers:
        - image: ko://knative.dev/eventing/cmd/appender
          env: [{name: MESSAGE, value: seen by the second}]
          resources: {requests: {cpu: 5m}}
---
apiVersion: flows.knative.dev/v1
kind: Sequence
metadata: {name: e2e}
spec:
  channelTemplate: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel}
  steps:
    - ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: content-detect}
    - ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: e2e-appender}
  reply: {ref: {apiVersion: v1, kind: Service, name: e2e-sink}}
---
# A function whose answers go to the broker, not back to who sent the event.
apiVersion: sources.knative.dev/v1
kind: SinkBinding
metadata: {name: e2e-bound}
spec:
  subject: {apiVersion: serving.knative.dev/v1, kind: Service, name: e2e-bound}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: e2e}}
  ceOverrides: {extensions: {boundby: sinkbinding}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: e2e-bound, labels: {networking.knative.dev/visibility: cluster-local}}
spec:
  template:
    spec:
      containers:
        - image: CONTENT-DETECT
          ports: [{name: h2c, containerPort: 8080}]
          env:
            - {name: MODELSERVE_MODELS, value: content-detect@1}
            - {name: MODELSERVE_CACHE_DIR, value: /tmp/models}
          envFrom: [{configMapRef: {name: modelserve}}, {secretRef: {name: modelserve-s3}}]
          resources: {requests: {cpu: 5m}}
`

// TestClusterEvents sends CloudEvents to a broker and to a sequence.
func TestClusterEvents(t *testing.T) {
	p := cluster(t)
	applyEventing(t)
	p.atZero(t, "content-detect", "text-detect")
	broker := addressOf(t, "broker/e2e")
	post(t, broker, "upload-1", "dev.modelserve.document.uploaded.v1", "package main\n\nfunc main() {}\n")
	p.eventually(t, "the function's answer is at the sink", func() error {
		return sinkGot(t, "dev.modelserve.content-detect.answered.v1", `"label"`, "executionid: upload-1")
	})
	post(t, broker, "broken-1", "dev.modelserve.image.broken.v1", "this is no image")
	p.eventually(t, "the function's error is at the dead-letter sink", func() error {
		return sinkGot(t, "dev.modelserve.image.broken.v1", "executionid: broken-1", "knativeerrorcode: 400", "knativeerrordest: ", "knativeerrordata: ")
	})
	post(t, addressOf(t, "sequence/e2e"), "sequence-1", "dev.modelserve.document.uploaded.v1", "#!/bin/sh\necho hello\n")
	p.eventually(t, "the sequence's answer is at the sink", func() error {
		return sinkGot(t, "executionid: sequence-1", "dev.modelserve.content-detect.answered.v1", "seen by the second")
	})
	post(t, addressOf(t, "ksvc/e2e-bound"), "bound-1", "dev.modelserve.document.uploaded.v1", "SELECT 1;\n")
	p.eventually(t, "the bound function's answer is at the sink", func() error {
		return sinkGot(t, "dev.modelserve.content-detect.answered.v1", "executionid: bound-1", "boundby: sinkbinding")
	})
}

func applyEventing(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { _, _ = tool(t, eventing, "kubectl", "delete", "--ignore-not-found", "--wait=false", "-f", "-") })
	cmd := exec.CommandContext(t.Context(), "ko", "resolve", "--sbom=none", "-f", "-")
	cmd.Dir = filepath.Join(platformtest.Root(t), "test/cluster/tools")
	// As the cluster's own images are compiled, with which they share all packages.
	cmd.Env = append(os.Environ(), "KO_DOCKER_REPO=localhost:5000/cluster", "KO_DEFAULTBASEIMAGE=localhost:5000/base-static", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -gcflags=all=-dwarf=false -ldflags=-s")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(eventing, "CONTENT-DETECT", imageOf(t, "content-detect")))
	manifests, err := cmd.Output()
	if err != nil {
		t.Fatalf("make the images: %v", err)
	}
	if out, err := tool(t, string(manifests), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustTool(t, "kubectl", "wait", "--for=condition=Ready", "--timeout=120s", "pod/e2e-sink", "ksvc/e2e-appender",
		"broker/e2e", "trigger/e2e-upload", "trigger/e2e-answer", "trigger/e2e-broken", "sequence/e2e",
		"sinkbinding/e2e-bound", "ksvc/e2e-bound")
}

// addressOf is where an addressable takes events, by an address that this
// machine reaches: a name in the cluster is looked up as a Service.
func addressOf(t *testing.T, resource string) *http.Request {
	t.Helper()
	at := strings.TrimSpace(mustTool(t, "kubectl", "get", resource, "-o", "jsonpath={.status.address.url}"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	name, rest, _ := strings.Cut(req.URL.Hostname(), ".")
	namespace, _, _ := strings.Cut(rest, ".")
	service := strings.Fields(mustTool(t, "kubectl", "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.type} {.spec.clusterIP} {.spec.externalName}"))
	if service[0] == "ExternalName" {
		name, rest, _ = strings.Cut(service[1], ".")
		namespace, _, _ = strings.Cut(rest, ".")
		service = strings.Fields(mustTool(t, "kubectl", "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.type} {.spec.clusterIP}"))
	}
	req.Host, req.URL.Host = req.URL.Host, service[1]
	return req
}

func post(t *testing.T, to *http.Request, id, kind, data string) {
	t.Helper()
	event, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": "/e2e", "type": kind, "executionid": id,
		"datacontenttype": "application/octet-stream", "data_base64": []byte(data),
	})
	if err != nil {
		t.Fatal(err)
	}
	req := to.Clone(t.Context())
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Body, req.ContentLength = bodyOf(event), int64(len(event))
	client := &http.Client{Timeout: 30 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s", to.URL, res.Status)
	}
}

// sinkGot wants one event with all of the texts in the sink's log.
func sinkGot(t *testing.T, texts ...string) error {
	t.Helper()
	out, err := kubectl(t, "logs", "e2e-sink")
	if err != nil {
		return err
	}
	for event := range strings.SplitSeq(out, "cloudevents.Event") {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(event, text)
		}
		if all {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("no event with %q", texts), errors.New(out[max(0, len(out)-3000):]))
}
