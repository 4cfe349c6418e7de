package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

func (a *app) modelsCommand() *cobra.Command {
	return group("models", "Publish models, and see, check and delete published ones",
		a.pushCommand(), a.pushShippedCommand(), a.listCommand(), a.showCommand(), a.verifyCommand(), a.deleteCommand(),
		a.aliasCommand(), a.splitCommand())
}

// withStore runs do over the published models.
func (a *app) withStore(ctx context.Context, do func(*store) error) error {
	s, closeStore, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.explain(do(s)), closeStore())
}

// modelSummary is a row of `models list`.
type modelSummary struct {
	Name     string `json:"name"`
	Version  int    `json:"version"` // the newest
	Versions []int  `json:"versions"`
	Size     int64  `json:"size"` // bytes of the newest, as pushed
	Digest   string `json:"digest"`
	Fault    string `json:"fault,omitempty"` // why its manifest cannot be read

	model.Policy

	PolicyFault string `json:"policy_fault,omitempty"` // why its policy is not followed
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the published models",
		Example: "  modelserve models list -o json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(s *store) error {
				all, err := s.summaries(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(map[string]any{"models": all}, func() string { return summaryTable(all) })
			})
		},
	}
}

func (s *store) summaries(ctx context.Context) ([]modelSummary, error) {
	names, err := s.Names(ctx)
	if err != nil {
		return nil, err
	}
	all := []modelSummary{}
	for _, name := range names {
		versions, err := s.Versions(ctx, name)
		if problem.CodeOf(err) == problem.ModelNotFound && err != nil {
			continue // its only version was never finished
		}
		if err != nil {
			return nil, err
		}
		row := modelSummary{Name: name, Version: versions[0], Versions: versions}
		m, digest, err := s.Manifest(ctx, model.Ref{Name: name, Version: versions[0]})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			row.Fault = err.Error()
		default:
			row.Digest, row.Size = digest, pushedSize(m)
		}
		policy, err := s.policyInForce(ctx, name)
		if row.Policy = *policy; err != nil {
			row.PolicyFault = err.Error()
		}
		all = append(all, row)
	}
	return all, nil
}

// pushedSize is what was pushed: without the optimised copies.
func pushedSize(m *model.Manifest) int64 {
	var n int64
	for _, f := range m.Files {
		if f.Optimized == nil {
			n += f.Size
		}
	}
	return n
}

func summaryTable(models []modelSummary) string {
	if len(models) == 0 {
		return "No model is published yet. `modelserve models push NAME FILE.onnx` publishes one.\n"
	}
	t := table{head: []string{"NAME", "NEWEST", "VERSIONS", "ALIASES", "SIZE", "DIGEST"}}
	for _, m := range models {
		if m.Fault != "" {
			t.add(m.Name, strconv.Itoa(m.Version), strconv.Itoa(len(m.Versions)), m.calls(), "-", "unreadable: "+m.Fault)
			continue
		}
		t.add(m.Name, strconv.Itoa(m.Version), strconv.Itoa(len(m.Versions)), m.calls(), size(m.Size), shortDigest(m.Digest))
	}
	return t.String()
}

// calls lists on one line the versions that calls reach that name no number.
func (m *modelSummary) calls() string {
	switch {
	case m.PolicyFault != "":
		return "not followed"
	case len(m.Split) > 0:
		return strings.TrimSpace(aliasList(m.Aliases) + " split " + shareList(m.Split))
	case len(m.Aliases) > 0:
		return aliasList(m.Aliases)
	default:
		return "-"
	}
}

// shortDigest keeps enough of a digest to distinguish it at a glance.
func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

// modelDetails is what `models show` answers.
type modelDetails struct {
	Digest   string `json:"digest"`
	Versions []int  `json:"versions"`

	model.Policy
	*model.Manifest
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME[@VERSION]",
		Short: "Show a published model: inputs, outputs, files, how to call it",
		Example: `  modelserve models show churn
  modelserve models show churn@2 -o yaml`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := a.address()
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(s *store) error {
				ref, err := s.resolve(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				m, digest, err := s.Manifest(cmd.Context(), ref)
				if err != nil {
					return notPublished(err)
				}
				versions, err := s.Versions(cmd.Context(), ref.Name)
				if err != nil {
					return err
				}
				policy, err := s.policyInForce(cmd.Context(), ref.Name)
				if err != nil {
					a.notef("note: its policy is not followed: %s", explain(err))
				}
				d := modelDetails{Digest: digest, Versions: versions, Policy: *policy, Manifest: m}
				if reached, _ := defaultOf(ref.Name, versions, policy); reached == ref.Version && !policy.Splits(versions) {
					ref.Version = 0 // what a call without a version reaches
				}
				curl := curlLine(m, inferURL(ref, addr), addr)
				return a.print(d, func() string { return describeModel(&d) + "\n" + callText(curl, addr) })
			})
		},
	}
}

func describeModel(d *modelDetails) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%d\n  digest   %s\n  batches  %s\n", d.Name, d.Version, d.Digest, batchesText(d.Manifest))
	if d.Cost != nil {
		fmt.Fprintf(&b, "  memory   %s, loaded and warm\n", size(d.Cost.Memory))
	}
	if len(d.Aliases) > 0 {
		fmt.Fprintf(&b, "  aliases  %s\n", aliasList(d.Aliases))
	}
	if len(d.Split) > 0 {
		fmt.Fprintf(&b, "  split    %s\n", shareList(d.Split))
	}
	ports := table{head: []string{"", "NAME", "TYPE", "SHAPE", ""}}
	for _, side := range []struct {
		word  string
		specs []infer.TensorSpec
	}{{"input", d.Inputs}, {"output", d.Outputs}} {
		for _, spec := range side.specs {
			ports.add(side.word, spec.Name, string(spec.DataType), shapeText(spec.Described()), remark(&spec))
		}
	}
	b.WriteString("\n" + ports.String() + "\n")
	if d.Cost != nil && len(d.Cost.Batches) > 0 {
		b.WriteString(costTable(d.Cost.Batches) + "\n")
	}
	files := table{head: []string{"FILE", "SIZE", "SHA256", ""}}
	for _, f := range d.Files {
		made := ""
		if f.Optimized != nil {
			made = "for ONNX Runtime " + f.Optimized.ONNXRuntime + " on " + f.Optimized.Arch
		}
		files.add(f.Path, size(f.Size), f.SHA256[:12], made)
	}
	b.WriteString(files.String())
	return b.String()
}

// shapeText writes a shape as people do, with dynamic axes as "?".
func shapeText(shape []int64) string {
	if shape == nil {
		return "not declared"
	}
	sizes := make([]string, len(shape))
	for i, d := range shape {
		sizes[i] = strconv.FormatInt(d, 10)
		if d == infer.Dynamic {
			sizes[i] = "?"
		}
	}
	return "[" + strings.Join(sizes, ",") + "]"
}

func remark(spec *infer.TensorSpec) string {
	var words []string
	if spec.Optional {
		words = append(words, "optional")
	}
	if spec.Example != nil {
		words = append(words, "such as "+shapeText(spec.Example))
	}
	if r := spec.Ragged; r != nil {
		words = append(words, raggedText(r))
	}
	return strings.Join(words, ", ")
}

// deleted is what `models delete` answers.
type deleted struct {
	Deleted []string `json:"deleted"`
}

func (a *app) deleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME[@VERSION]",
		Short: "Delete a published version, or a model with all of them",
		Long: `Delete a version, or all versions of a model. It asks first; where nobody can
answer it wants --yes. A version that an alias or the split names is not deleted
before those name another, but with the whole model. Manifests and functions
that name it are listed first. The pool lets it go within two seconds; a function
that pins it answers with it until it stops. Its number is never used again.`,
		Example: `  modelserve models delete churn@2
  modelserve models delete churn --yes`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(s *store) error {
				refs, err := s.versionsOf(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				for _, note := range a.pins(cmd.Context(), refs) {
					a.notef("note: %s", note)
				}
				if !yes {
					if err := a.confirm(cmd.Context(), refs); err != nil {
						return err
					}
				}
				if refs, err = s.delete(cmd.Context(), args[0], refs); err != nil {
					return err
				}
				gone := deleted{}
				for _, ref := range refs {
					gone.Deleted = append(gone.Deleted, ref.String())
				}
				return a.print(gone, func() string { return "deleted " + strings.Join(gone.Deleted, ", ") + "\n" })
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// delete deletes what a ref means: one version, or the model.
func (s *store) delete(ctx context.Context, text string, refs []model.Ref) ([]model.Ref, error) {
	if strings.Contains(text, "@") {
		return refs, inUse(refs[0].Name, s.Delete(ctx, refs[0]))
	}
	refs, err := s.DeleteAll(ctx, text)
	return refs, notPublished(err)
}

// versionsOf lists the versions that a ref means: one, or all.
func (s *store) versionsOf(ctx context.Context, text string) ([]model.Ref, error) {
	ref, err := parseRef(text)
	if err != nil {
		return nil, err
	}
	versions, err := s.Versions(ctx, ref.Name)
	if err != nil {
		return nil, notPublished(err)
	}
	if ref.Version == 0 {
		refs := make([]model.Ref, 0, len(versions))
		for _, v := range versions {
			refs = append(refs, model.Ref{Name: ref.Name, Version: v})
		}
		return refs, nil
	}
	if _, _, err := s.Manifest(ctx, ref); problem.CodeOf(err) == problem.ModelNotFound && err != nil {
		return nil, notPublished(err)
	}
	return []model.Ref{ref}, nil
}

// confirm asks whether to delete. Who interrupts it need not answer.
func (a *app) confirm(ctx context.Context, refs []model.Ref) error {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.String()
	}
	return a.ask(ctx, "delete "+strings.Join(names, ", "))
}

// agreed asks whether to do what cannot be undone, unless --yes said so.
func (a *app) agreed(ctx context.Context, yes bool, what string) error {
	if yes {
		return nil
	}
	return a.ask(ctx, what)
}

// ask asks whether to do what cannot be undone. Who interrupts it need not answer.
func (a *app) ask(ctx context.Context, what string) error {
	if !a.InTerminal {
		return usagef("this would %s; there is no terminal to ask on; confirm with --yes", what)
	}
	a.promptf("%s for ever? [y/N] ", strings.ToUpper(what[:1])+what[1:])
	answer := make(chan string, 1)
	go func() { // a blocked read has no better owner than the process
		line, _ := bufio.NewReader(a.In).ReadString('\n') // nothing is no answer
		answer <- line
	}()
	var line string
	select {
	case line = <-answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	case "":
		return errors.New("nothing was deleted: no answer")
	}
	return errors.New("nothing was deleted")
}

func (a *app) promptf(format string, args ...any) { _, _ = fmt.Fprintf(a.Err, format, args...) }

// verified is what `models verify` answers.
type verified struct {
	Model  string `json:"model"`
	Digest string `json:"digest"`
	Signed bool   `json:"signed"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
}

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify NAME[@VERSION]",
		Short: "Read a published model whole: hashes, sizes and signature",
		Long: `Read every file of a published version and compare it with the manifest, and
the manifest with its signature. Without a public key (the local platform's, or
MODELSERVE_PUBLIC_KEY_FILE) the signature is not checked, which it reports.`,
		Example: "  modelserve models verify churn@2",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(s *store) error {
				v, err := s.verify(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.print(v, func() string {
					signature := "signature good"
					if !v.Signed {
						signature = "signature not checked: there is no public key here"
					}
					return fmt.Sprintf("%s is as it was published: %d files, %s, %s\n  digest  %s\n", v.Model, v.Files, size(v.Bytes), signature, v.Digest)
				})
			})
		},
	}
}
