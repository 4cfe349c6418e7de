package cli

import (
	"fmt"
	"strings"

	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/compile"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/plan"
)

// unsigned has the addresses of steps without their signatures, which the platform's
// key alone can make.
type unsigned struct{}

// Address implements compile.Signer.
func (unsigned) Address(digest string, p ticket.Plan) (string, error) {
	hash, err := p.Hash()
	if err != nil {
		return "", fmt.Errorf("step %s: %w", p.Step, err)
	}
	return "/?plan=" + hash + "&pipeline=" + strings.TrimPrefix(digest, "sha256:"), nil
}

// objectsOf are those that Knative would get of a definition, as YAML documents: in the
// namespace default, each function taken for a Service of its name, and unsigned.
func objectsOf(d *definition.Definition, version int) ([]map[string]any, error) {
	target := compile.Target{
		Namespace: "default", Functions: map[string]compile.Function{},
		Service: duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: compile.Manager},
	}
	for i := range d.Steps {
		if name := d.Steps[i].Function; name != "" {
			target.Functions[name] = compile.Function{Service: name}
		}
	}
	objects, err := compile.Of(plan.Of(d), compile.Version{Tenant: "default", Pipeline: d.Name, Number: version, Digest: d.Digest()}, target, unsigned{})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the pipeline
	}
	all, err := objects.Unstructured()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what
	}
	list := make([]map[string]any, len(all))
	for i, one := range all {
		list[i] = one.Object
	}
	return list, nil
}

// documents are objects as a file of YAML.
func documents(objects []map[string]any) string {
	var b strings.Builder
	for _, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil { // it is JSON
			text = []byte("# " + err.Error() + "\n")
		}
		b.WriteString("---\n" + string(text))
	}
	return b.String()
}
