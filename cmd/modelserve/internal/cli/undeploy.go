package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// undeployed is what undeploy answers.
type undeployed struct {
	Name string `json:"name"`
	File string `json:"file,omitempty"` // the manifest that was removed
}

func (a *app) undeployCommand() *cobra.Command {
	var apply, namespace string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "undeploy NAME",
		Short: "Take away the service that deploy gave a model; the model stays published",
		Long: `Remove what deploy made: locally the manifest in .modelserve/services/, and wait
until the platform has let the service go; with --apply the Knative Service of
the current cluster. Calls to the model reach the shared pool again. A service
that deploy did not make stays.`,
		Example: `  modelserve undeploy churn                  # here
  modelserve undeploy churn --apply kubectl  # in the current cluster`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if _, err := infer.ParseName(name); err != nil {
				return &usageError{err}
			}
			if _, err := infer.ParseName(namespace); err != nil {
				return usagef("--namespace: expected a namespace's name, got %q", namespace)
			}
			switch apply {
			case "":
				return a.undeployHere(cmd.Context(), name, wait)
			case "kubectl", "ko": // ko deletes as kubectl does
				return a.undeployCluster(cmd.Context(), name, namespace)
			}
			return usagef("--apply: expected ko or kubectl, got %q", apply)
		},
	}
	cmd.Flags().StringVar(&apply, "apply", "", "take it out of the current cluster, with ko or kubectl")
	cmd.Flags().StringVar(&namespace, "namespace", defaultNamespace, "a cluster's namespace")
	cmd.Flags().DurationVar(&wait, "timeout", time.Minute, "how long to wait for the platform to let it go")
	return cmd
}

// undeployHere removes the manifest, and waits until the running platform lists
// the service no more.
func (a *app) undeployHere(ctx context.Context, name string, wait time.Duration) error {
	p, err := a.findPlatform()
	if err != nil {
		return err
	}
	if p.dir == "" {
		return errors.New("there is no local platform here or above (no .modelserve): name its folder with --data, or use --apply kubectl for a cluster")
	}
	path := filepath.Join(p.dir, servicesDir, name+".yaml")
	err = madeHere(path, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deploy made no service %s here (there is no %s); a function whose manifest is in config/ or a service.yaml is removed there", name, path)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("remove the manifest: %w", sameUser(err))
	}
	if p.running() {
		if err := a.waitGone(ctx, name, wait); err != nil {
			return fmt.Errorf("%s is removed, but %w", path, err)
		}
	}
	return a.printUndeployed(undeployed{Name: name, File: path})
}

// madeHere refuses a manifest that deploy did not write, or that holds more than
// the one service that it wrote.
func madeHere(path, name string) error {
	text, err := regular.Read(path, maxManifest)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	notMade := func(why string) error {
		return fmt.Errorf("%s is not as deploy writes it (%s): take it away yourself if it is to go", path, why)
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	objects := 0
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return notMade(err.Error())
		}
		var object *metav1.PartialObjectMetadata
		if err := sigsyaml.Unmarshal(part, &object); err != nil {
			return notMade("it is not YAML of a Kubernetes object")
		}
		if object == nil { // only comments
			continue
		}
		objects++
		switch {
		case object.Kind != "Service" || !strings.HasPrefix(object.APIVersion, "serving.knative.dev/"):
			return notMade(fmt.Sprintf("it holds a %s of %s", firstOf(object.Kind, "thing without a kind"), firstOf(object.APIVersion, "no API")))
		case object.Name != name:
			return notMade(fmt.Sprintf("it holds the service %q", object.Name))
		case object.Labels[madeBy] != madeByDeploy:
			return notMade(fmt.Sprintf("it has no label %s: %s", madeBy, madeByDeploy))
		}
	}
	if objects != 1 {
		return notMade(fmt.Sprintf("expected one object, got %d", objects))
	}
	return nil
}

// waitGone asks until the platform lists a function no more.
func (a *app) waitGone(ctx context.Context, name string, wait time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		functions, err := c.functions(ctx)
		if err != nil {
			return fmt.Errorf("ask the platform: %w", err)
		}
		if !slices.ContainsFunc(functions, func(f function) bool { return f.Name == name }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the platform still lists it after %s; its log has the reason", wait)
		}
	}
}

// undeployCluster deletes a Knative Service that deploy made.
func (a *app) undeployCluster(ctx context.Context, name, namespace string) error {
	c := a.cluster(namespace)
	state, err := c.get(ctx, name)
	switch {
	case errors.Is(err, errNone):
		return fmt.Errorf("there is no service %s in namespace %s", name, namespace)
	case err != nil:
		return err
	case state.Metadata.Labels[madeBy] != madeByDeploy:
		return fmt.Errorf("deploy did not make the service %s: remove it where it was made", name)
	}
	cmd := exec.CommandContext(ctx, c.kubectl, "delete", "ksvc", name, "-n", c.namespace) //nolint:gosec // its name is fixed, and those of the service and of its namespace DNS labels
	cmd.Dir = c.dir
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("kubectl delete ksvc %s: %w: %s", name, err, strings.TrimSpace(output.String()))
	}
	return a.printUndeployed(undeployed{Name: name})
}

func (a *app) printUndeployed(u undeployed) error {
	return a.print(u, func() string {
		text := u.Name + " has no service of its own any more; the model stays published\n"
		if u.File != "" {
			text += "  removed  " + u.File + "\n"
		}
		return text
	})
}
