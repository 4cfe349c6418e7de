package manifest_test

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/local/manifest"
)

const whole = `# line 1
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: churn
  labels:
    app.kubernetes.io/name: churn
    team: risk
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/target: "1"
    spec:
      containers:
        - image: ko://example.com/churn
          ports:
            - name: h2c
              containerPort: 8080
          env:
            - {name: A, value: a}
            - {name: B, value: b}
          readinessProbe:
            httpGet:
              path: /readyz
          resources:
            requests:
              cpu: 500m
            limits:
              memory: 512Mi
          securityContext:
            runAsUser: 65532
            capabilities:
              drop: [ALL]
`

// TestFaultsNameFileLineFieldAndWhatIsExpected of a value of the wrong kind,
// wherever it is.
func TestFaultsNameFileLineFieldAndWhatIsExpected(t *testing.T) {
	t.Parallel()
	if _, err := manifest.Decode(t.Context(), "f.yaml", []byte(whole)); err != nil {
		t.Fatal(err)
	}
	const container = "spec.template.spec.containers[0]"
	for _, tc := range []struct{ name, old, new, want string }{
		{"a quantity", "cpu: 500m", "cpu: bad!", `f.yaml:28: Service churn: ` + container + `.resources.requests.cpu: expected a quantity such as 500m or 512Mi, got "bad!"`},
		{"a quantity that is a list", "memory: 512Mi", "memory: [x]", `f.yaml:30: Service churn: ` + container + `.resources.limits.memory: expected a quantity such as 500m or 512Mi, got a list`},
		{"a quantity that is negative", "memory: 512Mi", "memory: -7", `f.yaml:30: Service churn: ` + container + `.resources.limits.memory: expected a quantity such as 500m or 512Mi that is not negative, got -7`},
		{"a port's name", "name: h2c", "name: bad!", `f.yaml:17: Service churn: Port name bad! is not allowed: ` + container + `.ports: Name must be empty, or one of: 'h2c', 'http1'`},
		{"a revision's name", "      annotations:", "      name: bad!\n      annotations:", `(e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')]: spec.template.metadata.name`},
		{"a mapping", "readinessProbe:\n            httpGet:\n              path: /readyz", "readinessProbe: 5", `f.yaml:23: Service churn: ` + container + `.readinessProbe: expected a mapping, got a number`},
		{"a mapping in a list", "- {name: B, value: b}", "- b", `f.yaml:22: Service churn: ` + container + `.env[1]: expected a mapping, got a text`},
		{"a text in a list", "drop: [ALL]", "drop: [ALL, 5]", `f.yaml:34: Service churn: ` + container + `.securityContext.capabilities.drop[1]: expected a text, in quotes where it looks like a number, got a number`},
		{"an integer", "runAsUser: 65532", "runAsUser: 1e30", `f.yaml:32: Service churn: ` + container + `.securityContext.runAsUser: expected an integer of at most 64 bits, got `},
		{"an integer of fewer bits", "containerPort: 8080", "containerPort: 8080000000", `f.yaml:19: Service churn: ` + container + `.ports[0].containerPort: expected an integer of at most 32 bits, got 8080000000`},
		{"a label", "team: risk", "team: 5", `f.yaml:8: Service churn: metadata.labels.team: expected a text, in quotes where it looks like a number, got a number`},
		{"a label with dots", "name: churn\n    team", "name: true\n    team", `f.yaml:7: Service churn: metadata.labels["app.kubernetes.io/name"]: expected a text, in quotes where it looks like a number, got true or false`},
		{"an annotation", `target: "1"`, "target: 1", `f.yaml:13: Service churn: spec.template.metadata.annotations["autoscaling.knative.dev/target"]: expected a text`},
		{"no name", "  name: churn\n  labels", "  q: 1\n  labels", `f.yaml:5: Service without a name: unknown field "metadata.q"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(whole, tc.old, tc.new, 1)
			if text == whole {
				t.Fatal("nothing was changed")
			}
			_, err := manifest.Decode(t.Context(), "f.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// TestEveryFaultIsReported, where a decoder would stop at the first.
func TestEveryFaultIsReported(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("cpu: 500m", "cpu: [x]", "team: risk", "team: 5", "drop: [ALL]", "drop: ALL").Replace(whole)
	_, err := manifest.Decode(t.Context(), "f.yaml", []byte(text))
	for _, want := range []string{"f.yaml:8: ", "f.yaml:28: ", "f.yaml:34: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault at %s in\n%v", want, err)
		}
	}
}
