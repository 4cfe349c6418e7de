package compile_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

// signer has addresses that can be read.
type signer struct{ fails string }

func (s signer) Address(digest string, p ticket.Plan) (string, error) {
	if p.Step == s.fails {
		return "", errors.New("input: too long")
	}
	model := ""
	if p.Model != "" {
		model = "&model=" + p.Model
	}
	return fmt.Sprintf("/?plan=%s-of-%s%s&pipeline=%s&sig=x%%2By", p.Step, p.Function, model, strings.TrimPrefix(digest, "sha256:")), nil
}

func step(name, function, needs string) definition.Step {
	return definition.Step{Name: name, Function: function, Needs: strings.Fields(needs), Input: "input", Timeout: 30 * time.Second}
}

func version() compile.Version {
	return compile.Version{Tenant: "acme", Pipeline: "read-document", Number: 12, Digest: "sha256:d1935"}
}

func target() compile.Target {
	functions := map[string]compile.Function{"churn": {Service: "pool", Model: true}}
	for _, name := range []string{"content-detect", "text-detect", "text-orient", "text-recognize", "f"} {
		functions[name] = compile.Function{Service: name}
	}
	return compile.Target{
		Namespace: "models", Functions: functions,
		Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "modelserve-pipelines"},
	}
}

// pipelines are what is compiled, by the name of their golden file.
func pipelines() map[string][]definition.Step {
	when := step("orient", "text-orient", "detect")
	when.When = "size(steps.detect.boxes) > 0"
	each := step("each", "text-recognize", "orient")
	each.ForEach = &definition.ForEach{Items: "steps.detect.boxes", Max: 1000, AtOnce: 8, Join: definition.All}
	outside := step("notify", "", "each")
	outside.URI = "https://example.com/hooks/42"
	return map[string][]definition.Step{
		"line":   {step("detect", "text-detect", ""), step("orient", "text-orient", "detect"), step("read", "text-recognize", "orient")},
		"marked": {step("detect", "text-detect", ""), when, each, outside},
		"fork": {
			step("kind", "content-detect", ""), step("page", "text-detect", "kind"), step("read", "text-recognize", "page"),
			step("churn", "churn", "kind"), step("all", "f", "read churn"),
		},
		"outside": {outside},
	}
}

func compiled(t *testing.T, steps []definition.Step, v compile.Version, to compile.Target) *compile.Objects {
	t.Helper()
	objects, err := compile.Of(plan.Of(&definition.Definition{Name: v.Pipeline, Steps: steps}), v, to, signer{})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, steps := range pipelines() {
		all, err := compiled(t, steps, version(), target()).Unstructured()
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, o := range all {
			text, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
		golden(t, name+".yaml", strings.Join(texts, "---\n"))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", name, diff)
	}
}

// object is what Knative's types do to themselves when they come to the API server.
type object interface {
	SetDefaults(context.Context)
	Validate(context.Context) *apis.FieldError
	metav1.Object
}

func all(o *compile.Objects) []object {
	var every []object
	for _, s := range o.Sequences {
		every = append(every, s)
	}
	for _, p := range o.Parallels {
		every = append(every, p)
	}
	for _, s := range o.Subscriptions {
		every = append(every, s)
	}
	return every
}

// TestKnativeTakesThem holds that Knative accepts every object, and adds nothing to it:
// else what is applied would never be what is there.
func TestKnativeTakesThem(t *testing.T) {
	t.Parallel()
	for name, steps := range pipelines() {
		want := all(compiled(t, steps, version(), target()))
		for i, o := range all(compiled(t, steps, version(), target())) {
			ctx := apis.WithinParent(t.Context(), metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName()})
			o.SetDefaults(ctx)
			if err := o.Validate(ctx); err != nil {
				t.Errorf("%s: %s: %v", name, o.GetName(), err)
			}
			if diff := cmp.Diff(want[i], o); diff != "" {
				t.Errorf("%s: Knative changes %s, -ours +theirs:\n%s", name, o.GetName(), diff)
			}
			for key, value := range o.GetLabels() {
				if faults := validation.IsValidLabelValue(value); len(faults) > 0 {
					t.Errorf("%s: label %s: %v", name, key, faults)
				}
			}
		}
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	to := target()
	to.Owner = &metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "modelserve-pipelines", UID: "u"}
	for _, o := range all(compiled(t, pipelines()["fork"], version(), to)) {
		if diff := cmp.Diff([]metav1.OwnerReference{*to.Owner}, o.GetOwnerReferences()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", o.GetName(), diff)
		}
	}
}

func TestAnotherChannel(t *testing.T) {
	t.Parallel()
	to := target()
	to.Channel = metav1.TypeMeta{APIVersion: "messaging.knative.dev/v1beta1", Kind: "KafkaChannel"}
	objects := compiled(t, pipelines()["fork"], version(), to)
	if got := objects.Sequences[0].Spec.ChannelTemplate.TypeMeta; got != to.Channel {
		t.Errorf("the Sequence has %v", got)
	}
	if got := objects.Parallels[0].Spec.ChannelTemplate.TypeMeta; got != to.Channel {
		t.Errorf("the Parallel has %v", got)
	}
	if got := objects.Subscriptions[0].Spec.Channel; got.Kind != to.Channel.Kind || got.APIVersion != to.Channel.APIVersion {
		t.Errorf("the tap has %v", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	steps := []definition.Step{step("a", "nobody", ""), step("b", "f", "a"), step("c", "f", "")}
	_, err := compile.Of(plan.Of(&definition.Definition{Steps: steps}), version(), target(), signer{fails: "c"})
	for _, part := range []string{"read-document version 12", "step a: there is no function nobody", "step c: input: too long"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
}

// TestLongPlansAreDescribedInBounds holds that what is there to be read keeps below what
// Kubernetes takes of annotations.
func TestLongPlansAreDescribedInBounds(t *testing.T) {
	t.Parallel()
	var steps []definition.Step
	for i := range definition.MaxSteps {
		s := step(fmt.Sprintf("s%d", i), "f", "")
		if i > 0 {
			s.Needs = []string{fmt.Sprintf("s%d", i-1)}
		}
		s.Input, s.Timeout = strings.Repeat("x", 3<<10), time.Second
		steps = append(steps, s)
	}
	objects := compiled(t, steps, version(), target())
	text := objects.Sequences[0].Annotations[compile.AnnotationPlan]
	if len(objects.Sequences) != 1 || len(text) > 128<<10 || !strings.Contains(text, "s99: …") {
		t.Errorf("%d Sequences, %d bytes", len(objects.Sequences), len(text))
	}
}

// TestNames holds that names are Knative's to extend, and nobody else's.
func TestNames(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	long := strings.Repeat("a-", 31) + "b"
	seen := map[string]string{}
	for _, tenant := range []string{"acme", "acme-a", "b", long} {
		for _, pipeline := range []string{"p", "a-p", "p-v1", "p-v1-s1", "1", "1-2", long, long[:62] + "c"} {
			for _, number := range []int{1, 11, 1<<31 - 1} {
				for _, index := range []int{0, 1, 11, 99} {
					for kind, name := range map[string]string{
						"sequence": compile.Sequence(tenant, pipeline, number, index), "parallel": compile.Parallel(tenant, pipeline, number, index),
					} {
						of := fmt.Sprint(kind, tenant, pipeline, number, index)
						if other, ok := seen[name]; ok {
							t.Errorf("%s is of %s and of %s", name, of, other)
						}
						seen[name] = of
						host := strings.Split(compile.Host(compile.Channel(name, 99), "models", "cluster.local"), ".")[0]
						if len(host) > 63 || !valid.MatchString(host) {
							t.Errorf("%s: %s is no name of a Service", of, host)
						}
					}
				}
			}
		}
	}
	if got, want := compile.Sequence("acme", "read-document", 12, 3), "read-document-v12-s3-"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
}
