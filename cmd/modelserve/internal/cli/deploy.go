package cli

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// defaultNamespace is the one that config/ deploys to and the gateway watches.
const defaultNamespace = "default"

// onnxImage serves any model without code.
const onnxImage = "ko://github.com/modelserveai/modelserve/functions/onnx"

// serviceYAML is the manifest that deploy writes.
//
//go:embed service.yaml.tmpl
var serviceYAML string

// service is what deploy puts into the manifest.
type service struct {
	Name        string
	Namespace   string
	Version     int
	Image       string
	Module      string // folder of the Go module that has the image's package; "" is the platform's own
	MinScale    int
	MaxScale    int   // 0 is the platform's own bound
	Concurrency int   // 0 until it is derived
	Target      int   // 0 is Knative's part of Concurrency
	Deadline    int   // seconds
	Memory      int64 // MiB requested; 0 is the namespace's default
	Disk        bool  // its files are kept in a volume, not in memory
}

// destination is where a manifest goes.
type destination struct {
	dir, apply string
	wait       time.Duration
}

// fit fills in what follows from the model.
func (s *service) fit(m *model.Manifest) {
	if s.Concurrency == 0 {
		fitting := scaleOf(m, 1)
		s.Concurrency, s.Target = fitting.concurrency, fitting.target
	}
	s.Deadline, s.Memory, s.Disk = int(deadlineOf(m).Seconds()), memoryOf(m), needsDisk(m)
}

// heldInMemory bounds the files that a function holds in memory: a volume costs
// the pod a third of a second, which a larger model loses elsewhere.
const heldInMemory = 256 << 20

// needsDisk reports whether a model is too large to be held in memory, or in files
// that have to be side by side.
func needsDisk(m *model.Manifest) bool {
	return slices.ContainsFunc(m.Files, func(f model.File) bool {
		return f.Size > heldInMemory || f.Optimized == nil && f.Path != model.ModelFile
	})
}

// manifest writes the service as a Knative Service.
func (s *service) manifest() (string, error) {
	t, err := template.New("service").Parse(serviceYAML)
	if err != nil {
		return "", fmt.Errorf("write the manifest: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, s); err != nil {
		return "", fmt.Errorf("write the manifest: %w", err)
	}
	return b.String(), nil
}

// check refuses values and combinations of flags that are not allowed.
func (s *service) check(apply string) error {
	switch {
	case s.MinScale < 0:
		return usagef("--min-scale: expected 0 or more, got %d", s.MinScale)
	case s.MaxScale < 0 || s.MaxScale > 0 && s.MaxScale < s.MinScale:
		return usagef("--max-scale: expected --min-scale or more, or 0 for no bound of its own, got %d", s.MaxScale)
	case s.Concurrency < 0 || s.Concurrency > 1000:
		return usagef("--concurrency: expected 1 to 1000, or 0 for what follows from the model's measurements, got %d", s.Concurrency)
	case s.Image == "" || strings.ContainsAny(s.Image, " \t\r\n'\"#"):
		return usagef("--image: expected an image or ko://IMPORT/PATH, got %q", s.Image)
	case apply != "" && apply != "kubectl" && apply != "ko":
		return usagef("--apply: expected ko or kubectl, got %q", apply)
	case apply == "kubectl" && strings.HasPrefix(s.Image, "ko://"):
		return usagef("--apply=kubectl needs --image with a built image; --apply=ko builds %s", s.Image)
	}
	if _, err := infer.ParseName(s.Namespace); err != nil { // a DNS label, as a namespace's is
		return usagef("--namespace: expected a namespace's name, got %q", s.Namespace)
	}
	return nil
}

// deployResult is what deploy answers.
type deployResult struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	File    string `json:"file,omitempty"`
	URL     string `json:"url,omitempty"`
	Curl    string `json:"curl,omitempty"`
}

func (a *app) deployCommand() *cobra.Command {
	s := service{}
	var (
		dryRun bool
		to     destination
	)
	cmd := &cobra.Command{
		Use:   "deploy NAME[@VERSION]",
		Short: "Give a published model a service of its own that scales to zero",
		Long: `Write the Knative Service of a published model, of its newest version unless one
is named, and apply it.

Locally the manifest goes to .modelserve/services/, which the platform watches,
and deploy waits until the platform serves it. For a cluster, --output-dir
writes it elsewhere, and --apply hands it to ko or kubectl and waits until the
service is ready, or reports why it is not. A service that deploy did not make it
does not replace.

How many requests an instance takes at once, and from how many another one
starts, follow from what was measured when the model was pushed.

--image names a function of your own: an image, or ko://IMPORT/PATH of its main
package, which the local platform builds in the Go module of the folder that
deploy is run in.`,
		Example: `  modelserve deploy churn                       # here
  modelserve deploy churn@3 --min-scale 1       # one instance always ready
  modelserve deploy churn --dry-run             # only show the manifest
  modelserve deploy churn --image ko://example.com/churn # by a codec of your own
  modelserve deploy churn --apply ko            # in the current cluster
  modelserve deploy churn --output-dir deploy/  # for a cluster, written to a file`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(to.apply); err != nil {
				return err
			}
			m, err := a.published(cmd.Context(), args[0], &s)
			if err != nil {
				return err
			}
			s.fit(m)
			here := to.dir == "" && to.apply == ""
			if here {
				if s.Module, err = a.moduleOf(cmd.Context(), s.Image); err != nil {
					return err
				}
			}
			text, err := s.manifest()
			if err != nil {
				return err
			}
			if dryRun {
				return a.print(map[string]any{"manifest": text}, func() string { return text })
			}
			if here {
				return a.deployHere(cmd.Context(), &s, m, text, to.wait)
			}
			return a.deployCluster(cmd.Context(), &s, m, text, to)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the manifest, write and apply nothing")
	cmd.Flags().IntVar(&s.MinScale, "min-scale", 0, "instances that are always there")
	cmd.Flags().IntVar(&s.MaxScale, "max-scale", 0, "instances at most (0: the platform's own bound)")
	cmd.Flags().IntVar(&s.Concurrency, "concurrency", 0, "requests at once in one instance (0: what follows from the model's measurements)")
	cmd.Flags().StringVar(&s.Image, "image", onnxImage, "what serves it: an image, or `ko://IMPORT/PATH` of a main package")
	cmd.Flags().StringVar(&s.Namespace, "namespace", defaultNamespace, "a cluster's namespace; its gateway must watch it")
	cmd.Flags().StringVar(&to.dir, "output-dir", "", "write the manifest to this folder, for a cluster")
	cmd.Flags().StringVar(&to.apply, "apply", "", "apply the manifest with ko or kubectl, and wait until the service is ready")
	cmd.Flags().DurationVar(&to.wait, "timeout", 3*time.Minute, "how long to wait for the platform, which may build first")
	return cmd
}

// published reads the manifest of the model, which must be published, and
// fills in its name and version.
func (a *app) published(ctx context.Context, ref string, s *service) (m *model.Manifest, err error) {
	err = a.withStore(ctx, func(store *store) error {
		m, err = store.find(ctx, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.Name[0] < 'a' {
		return nil, fmt.Errorf("a service's name begins with a letter, and that of model %q does not: publish the model under another name", m.Name)
	}
	if m.Name == gatewayService || m.Name == poolService {
		return nil, fmt.Errorf("%s is a service of the platform's own: publish the model under another name", m.Name)
	}
	s.Name, s.Version = m.Name, m.Version
	return m, nil
}

// ownModule is ModelServe's; the platform knows where to build what it has.
const ownModule = "github.com/modelserveai/modelserve"

// moduleOf is the folder of the Go module that has an image's main package: the
// one deploy runs in, which must have it. It is "" of what the platform has itself
// and of images that are not built.
func (a *app) moduleOf(ctx context.Context, image string) (string, error) {
	path, built := strings.CutPrefix(image, "ko://")
	if !built || strings.HasPrefix(path, ownModule+"/") {
		return "", nil
	}
	dir, err := filepath.Abs(a.Dir)
	if err != nil {
		return "", fmt.Errorf("find the module of %s: %w", image, err)
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-f", "{{.Name}}", "--", path) //nolint:gosec // what the caller wants built, and no option
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	name, err := cmd.Output()
	switch {
	case err != nil:
		return "", fmt.Errorf("--image: the Go module of %s does not have %s; run deploy in the folder of the module that has it: %w\n%s", dir, path, err, strings.TrimSpace(stderr.String()))
	case strings.TrimSpace(string(name)) != "main":
		return "", usagef("--image: %s is package %s; expected a main package", path, strings.TrimSpace(string(name)))
	}
	return dir, nil
}

// deployHere writes the manifest to where the local platform watches, and
// waits until it is served.
func (a *app) deployHere(ctx context.Context, s *service, m *model.Manifest, text string, wait time.Duration) error {
	p, err := a.findPlatform()
	if err != nil {
		return err
	}
	if p.dir == "" {
		return errors.New("there is no local platform here or above (no .modelserve): start one with `make run` or `modelserve dev`, name its folder with --data, or write the manifest for a cluster with --output-dir")
	}
	if !strings.HasPrefix(s.Image, "ko://") {
		return usagef("--image: the platform here builds what it runs, so it takes only ko://IMPORT/PATH; --output-dir writes the manifest for a cluster")
	}
	if s.Namespace != defaultNamespace {
		return usagef("--namespace: the platform here has only %q; --output-dir writes the manifest for a cluster", defaultNamespace)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	path := filepath.Join(p.dir, servicesDir, s.Name+".yaml")
	before, err := c.nameIsFree(ctx, s.Name, path)
	if err != nil {
		return err
	}
	if old, err := regular.Read(path, maxStateFile); err == nil && string(old) == text {
		before = nil // nothing changes, so what is listed stays
	}
	if err := writeManifest(path, text); err != nil {
		return err
	}
	result := deployResult{Name: s.Name, Version: s.Version, File: path}
	if !p.running() {
		return a.printDeploy(result, "the platform is not running; `make run`, or `modelserve dev` where that ran before, will serve it\n")
	}
	shown := a.progress(s.Name + ": ")
	shown.stage("waiting for the platform")
	f, err := c.waitFor(ctx, s, before, wait, shown)
	shown.clear()
	if err != nil {
		return fmt.Errorf("%s is written, but not served: %w", path, err)
	}
	its := c.address
	its.server = strings.TrimSuffix(f.URL, "/")
	result.URL = f.URL
	result.Curl = curlLine(m, inferURL(model.Ref{Name: s.Name}, its), its)
	return a.printDeploy(result, callText(result.Curl, its))
}

// printDeploy prints the answer, and for people what comes next.
func (a *app) printDeploy(r deployResult, next string) error {
	return a.print(r, func() string {
		text := fmt.Sprintf("%s@%d\n", r.Name, r.Version)
		if r.File != "" {
			text += fmt.Sprintf("  manifest  %s\n", r.File)
		}
		if r.URL != "" {
			text += fmt.Sprintf("  URL       %s\n", r.URL)
		}
		if next != "" {
			text += "\n" + next
		}
		return text
	})
}

// writeManifest writes a file whole or not at all: the platform watches.
func writeManifest(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// function is a row of GET /v1/functions.
type function struct {
	Name      string      `json:"name"`
	Namespace string      `json:"namespace,omitempty"`
	URL       string      `json:"url,omitempty"`
	State     route.State `json:"state,omitempty"`
	Pool      bool        `json:"pool,omitempty"`
	Reason    string      `json:"reason,omitempty"`
	Models    []string    `json:"models"`
	Mixed     []string    `json:"mixed,omitempty"` // what only some of the revisions with traffic serve

	Tagged map[string][]string `json:"tagged,omitempty"` // by tag, what its revision serves
}

// serving are all versions that calls to the function may reach.
func (f *function) serving() []string {
	all := slices.Concat(f.Models, f.Mixed)
	for _, models := range f.Tagged {
		all = append(all, models...)
	}
	return all
}

func (c *client) functions(ctx context.Context) ([]function, error) {
	list := struct {
		Functions []function `json:"functions"`
	}{Functions: []function{}}
	err := c.call(ctx, http.MethodGet, "/v1/functions", nil, &list)
	return list.Functions, err
}

// nameIsFree refuses to shadow a function that deploy did not make, and returns
// how the one it made is listed; nil when there is none, as where no platform
// answers.
func (c *client) nameIsFree(ctx context.Context, name, path string) (*function, error) {
	functions, err := c.functions(ctx)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // the wait for the service reports it, if it matters
	}
	i := slices.IndexFunc(functions, func(f function) bool { return f.Name == name })
	if i < 0 {
		return nil, nil //nolint:nilnil // free
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is a function already, whose manifest is in config/ or a function's service.yaml: change it there, or publish the model under another name", name)
	}
	return &functions[i], nil
}

// scanTime is how long a platform may take to look at its manifests.
const scanTime = 3 * time.Second

// waitFor asks until the platform is able to serve the service as it is now.
// before is how the platform listed it until now, nil if it did not: for a
// while that is taken for what was before.
func (c *client) waitFor(ctx context.Context, s *service, before *function, wait time.Duration, shown *progress) (function, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	written := time.Now()
	last := "the platform has not looked at it"
	for {
		functions, err := c.functions(ctx)
		if err != nil && ctx.Err() == nil {
			return function{}, err
		}
		i := slices.IndexFunc(functions, func(f function) bool { return f.Name == s.Name })
		if i >= 0 && (time.Since(written) >= scanTime || !before.same(&functions[i])) {
			var served bool
			if served, last = functions[i].serves(s); served {
				return functions[i], nil
			}
			if functions[i].State == route.StateFailed {
				return function{}, errors.New(last)
			}
			shown.stage(last)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return function{}, ctx.Err()
			}
			return function{}, fmt.Errorf("%s after %s; its log, where it runs, has the reason", last, wait)
		}
	}
}

// serves reports whether calls to the function reach the service's model, and
// what it does instead.
func (f *function) serves(s *service) (served bool, instead string) {
	model := fmt.Sprintf("%s@%d", s.Name, s.Version)
	switch {
	case f.State == route.StateFailed || f.Reason != "":
		return false, "the platform reports: " + firstOf(f.Reason, string(f.State))
	case f.State == route.StateBuilding:
		return false, "the platform is building it"
	case !slices.Contains(f.Models, model):
		return false, fmt.Sprintf("the platform lists %s with %s", f.Name, strings.Join(f.Models, ", "))
	}
	return true, ""
}

// same reports whether two listings show the same.
func (f *function) same(g *function) bool {
	return f != nil && f.State == g.State && f.Reason == g.Reason && slices.Equal(f.Models, g.Models)
}
