package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/drawing"
	"github.com/modelserveai/modelserve/pipelines/plan"
	"github.com/modelserveai/modelserve/problem"
)

func (a *app) pipelinesCommand() *cobra.Command {
	return group("pipelines", "Register pipelines, and run them",
		a.pipelinesApplyCommand(), a.pipelinesListCommand(), a.pipelinesShowCommand(), a.pipelinesRunCommand(), a.pipelinesDeleteCommand())
}

// appliedPipeline is what became of one file.
type appliedPipeline struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Version int    `json:"version,omitempty"` // 0: it would be a new one
	Digest  string `json:"digest"`
	New     bool   `json:"new"` // no version had this definition
	DryRun  bool   `json:"dry_run,omitempty"`

	Objects []map[string]any `json:"objects,omitempty"` // that Knative would get, of a dry run
}

// String is the line for people.
func (p appliedPipeline) String() string {
	switch {
	case p.New && p.DryRun:
		return fmt.Sprintf("# %s is good; it would be a new version of %s\n", p.File, p.Name) + documents(p.Objects)
	case p.DryRun:
		return fmt.Sprintf("# %s is good; it is version %d of %s already\n", p.File, p.Version, p.Name) + documents(p.Objects)
	case p.New:
		return fmt.Sprintf("registered %s version %d (%s)\n", p.Name, p.Version, shortDigest(p.Digest))
	default:
		return fmt.Sprintf("%s is version %d already (%s)\n", p.Name, p.Version, shortDigest(p.Digest))
	}
}

func (a *app) pipelinesApplyCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply FILE…",
		Short: "Register pipelines from files of YAML or JSON",
		Long: `Register each file's pipeline. A definition that is new makes the next version,
which executions are of from then on; executions that run finish on their own. The
same definition again is the version that it was. - is standard input.

Every fault of a file is printed with its line. --dry-run registers nothing, and
prints the objects that Knative would get; whether the functions exist, and take what
they are given, only the platform finds.`,
		Example: `  modelserve pipelines apply read.yaml
  modelserve pipelines apply pipelines/*.yaml --dry-run`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			applied := []appliedPipeline{}
			var faults []error
			for _, file := range files {
				one, err := a.applyPipeline(cmd.Context(), c, file, dryRun)
				if err != nil {
					faults = append(faults, err)
					continue
				}
				applied = append(applied, one)
			}
			if len(applied) > 0 {
				faults = append(faults, a.print(map[string]any{"pipelines": applied}, func() string {
					text := ""
					for _, one := range applied {
						text += one.String()
					}
					return text
				}))
			}
			return errors.Join(faults...)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only report what is wrong, whether it is new, and what Knative would get")
	return cmd
}

func (a *app) applyPipeline(ctx context.Context, c *client, file string, dryRun bool) (appliedPipeline, error) {
	text, err := a.readInput(file, definition.MaxText)
	if err != nil {
		return appliedPipeline{}, err
	}
	d, err := definition.Parse(text)
	if err != nil {
		return appliedPipeline{}, inFile(file, err)
	}
	one := appliedPipeline{File: file, Name: d.Name, Digest: d.Digest(), DryRun: dryRun}
	if dryRun {
		var now contract.Pipeline
		version := 1
		switch err := c.call(ctx, http.MethodGet, contract.PathOf(contract.PipelinePath, d.Name), nil, &now); {
		case err == nil && now.Digest == one.Digest && !now.Shared:
			one.Version, version = now.Version, now.Version
		case err == nil && !now.Shared:
			one.New, version = true, now.Version+1
		case err == nil, problem.CodeOf(err) == problem.NotFound:
			one.New = true
		default:
			return one, err
		}
		if one.Objects, err = objectsOf(d, version); err != nil {
			return one, inFile(file, err)
		}
		return one, nil
	}
	var p contract.Pipeline
	status, err := c.send(ctx, &sending{
		method: http.MethodPost, path: contract.PipelinesPath, body: text, contentType: "application/yaml", // JSON is YAML
	}, &p)
	if err != nil {
		return one, inFile(file, err)
	}
	one.Name, one.Version, one.Digest, one.New = p.Name, p.Version, p.Digest, status == http.StatusCreated
	return one, nil
}

// inFile says in which file each fault is.
func inFile(file string, err error) error {
	var faults definition.Faults
	if !errors.As(err, &faults) {
		return fmt.Errorf("%s: %w", file, err)
	}
	lines := []string{file + " is no good pipeline:"}
	for _, fault := range faults {
		lines = append(lines, "  "+file+": "+fault.String())
	}
	return errors.New(strings.Join(lines, "\n"))
}

// readInput reads a regular file, or standard input for -, of at most so many bytes.
func (a *app) readInput(file string, most int64) ([]byte, error) {
	if file != "-" {
		text, err := regular.Read(a.abs(file), most)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		return text, nil
	}
	text, err := io.ReadAll(io.LimitReader(a.In, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read standard input: %w", err)
	case int64(len(text)) > most:
		return nil, fmt.Errorf("standard input has more than %s", size(most))
	}
	return text, nil
}

func (a *app) pipelinesListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List pipelines, with the version that executions are of",
		Example: "  modelserve pipelines list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[contract.Pipeline](cmd.Context(), c, contract.PipelinesPath, "pipelines", nil, 0)
			if err != nil {
				return err
			}
			return a.print(contract.Pipelines{Pipelines: all}, func() string { return pipelineTable(all) })
		},
	}
}

func pipelineTable(all []contract.Pipeline) string {
	t := table{head: []string{"NAME", "VERSION", "CREATED", "LABELS", "DIGEST"}}
	for _, p := range all {
		name := p.Name
		if p.Shared {
			name += " (shipped)"
		}
		t.add(name, strconv.Itoa(p.Version), p.CreatedAt.UTC().Format(time.DateTime), labelText(p.Labels), shortDigest(p.Digest))
	}
	return t.String()
}

// labelText is labels in a cell of a table.
func labelText(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, visible(key+"="+labels[key]))
	}
	return commas(list)
}

func (a *app) pipelinesShowCommand() *cobra.Command {
	var graph, versions bool
	cmd := &cobra.Command{
		Use:   "show NAME[@VERSION]",
		Short: "Show a pipeline's definition, its graph or its versions",
		Example: `  modelserve pipelines show read-document
  modelserve pipelines show read-document@2 --graph
  modelserve pipelines show read-document --versions`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, version, err := pipelineRef(args[0])
			if err != nil {
				return err
			}
			if graph && versions || versions && version > 0 {
				return usagef("--versions goes without --graph and without @VERSION")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if versions {
				all, err := pages[contract.Pipeline](cmd.Context(), c, contract.PathOf(contract.VersionsPath, name), "pipelines", nil, 0)
				if err != nil {
					return err
				}
				return a.print(contract.Pipelines{Pipelines: all}, func() string { return versionTable(all) })
			}
			p, err := c.pipeline(cmd.Context(), name, version)
			if err != nil {
				return err
			}
			text, err := describePipeline(p, graph)
			if err != nil {
				return err
			}
			return a.print(p, func() string { return text })
		},
	}
	cmd.Flags().BoolVar(&graph, "graph", false, "draw its steps, and what each needs")
	cmd.Flags().BoolVar(&versions, "versions", false, "list its versions, newest first")
	return cmd
}

// pipeline is a version of a pipeline; 0 is the one that executions are of.
func (c *client) pipeline(ctx context.Context, name string, version int) (p contract.Pipeline, err error) {
	path := contract.PathOf(contract.PipelinePath, name)
	if version > 0 {
		path = contract.PathOf(contract.VersionPath, name, strconv.Itoa(version))
	}
	if err = c.call(ctx, http.MethodGet, path, nil, &p); problem.CodeOf(err) == problem.NotFound {
		err = fmt.Errorf("%w; `modelserve pipelines list` shows which there are", err)
	}
	return p, err
}

// pipelineRef reads NAME[@VERSION]; 0 is no version.
func pipelineRef(text string) (name string, version int, err error) {
	name, digits, given := strings.Cut(text, "@")
	if given {
		if version, err = strconv.Atoi(digits); err != nil || version < 1 {
			return "", 0, usagef("expected NAME or NAME@VERSION, VERSION a number from 1 on, got %q", text)
		}
	}
	if name == "" {
		return "", 0, usagef("expected the name of a pipeline, got %q", text)
	}
	return name, version, nil
}

func versionTable(all []contract.Pipeline) string {
	t := table{head: []string{"VERSION", "CREATED", "DEFAULT", "DEPRECATED", "DIGEST"}}
	for _, p := range all {
		standard := ""
		if p.Default {
			standard = "yes"
		}
		t.add(strconv.Itoa(p.Version), p.CreatedAt.UTC().Format(time.DateTime), standard, timeOr(p.DeprecatedAt, ""), shortDigest(p.Digest))
	}
	return t.String()
}

// describePipeline is a version for people: its definition as YAML, or its graph.
func describePipeline(p contract.Pipeline, graph bool) (string, error) {
	if graph {
		d, err := definition.Parse(p.Definition)
		if err != nil {
			return "", fmt.Errorf("the definition of %s@%d is one that this modelserve does not know (%w); use the one of the platform's version", p.Name, p.Version, err)
		}
		return drawing.Text(plan.Of(d)), nil
	}
	text, err := yaml.JSONToYAML(p.Definition)
	if err != nil {
		return "", fmt.Errorf("the definition of %s@%d is no JSON: %w", p.Name, p.Version, err)
	}
	head := fmt.Sprintf("# %s version %d of %s, %s\n", p.Name, p.Version, p.CreatedAt.UTC().Format(time.DateTime), p.Digest)
	if p.DeprecatedAt != nil {
		head += "# deprecated since " + timeOr(p.DeprecatedAt, "") + "\n"
	}
	return head + string(text), nil
}

func (a *app) pipelinesDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME…",
		Short: "Delete pipelines with all their versions",
		Long: `Delete pipelines with all their versions. One whose executions have not ended is
refused: wait for them, or cancel them. What they answered stays until its retention
is over.`,
		Example: `  modelserve pipelines delete read-invoices
  modelserve pipelines delete read-invoices read-letters --yes`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := a.agreed(cmd.Context(), yes, "delete "+strings.Join(names, ", ")+" with all versions"); err != nil {
				return err
			}
			return a.each(names, "deleted", func(name string) error {
				err := c.call(cmd.Context(), http.MethodDelete, contract.PathOf(contract.PipelinePath, name), nil, nil)
				if problem.CodeOf(err) == problem.Conflict && strings.Contains(err.Error(), "not ended") { // and none of those that ship
					err = fmt.Errorf("%w; `modelserve executions list --pipeline %s --status running` shows them", err, name)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// each does one thing to several, and reports which it was done to: a fault of one
// does not keep the others.
func (a *app) each(names []string, done string, do func(name string) error) error {
	did := []string{}
	var faults []error
	for _, name := range names {
		if err := do(name); err != nil {
			if len(names) > 1 {
				err = fmt.Errorf("%s: %w", name, err)
			}
			faults = append(faults, err)
			continue
		}
		did = append(did, name)
	}
	if len(did) > 0 {
		faults = append(faults, a.print(map[string]any{done: did}, func() string { return done + " " + strings.Join(did, ", ") + "\n" }))
	}
	return errors.Join(faults...)
}
