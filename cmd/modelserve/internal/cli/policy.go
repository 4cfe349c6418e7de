package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// policyAnswer is what `models alias` and `models split` answer: which version
// calls are for that name none by its number.
type policyAnswer struct {
	Name    string         `json:"name"`
	Latest  int            `json:"latest"`  // the newest version, what the alias latest is
	Default int            `json:"default"` // what calls without a version reach; 0 in a split
	Aliases map[string]int `json:"aliases"`
	Split   []model.Share  `json:"split"`
	Signed  bool           `json:"signed"` // by this change
}

func (a *app) aliasCommand() *cobra.Command {
	var reset bool
	cmd := &cobra.Command{
		Use:   "alias NAME [ALIAS=VERSION | ALIAS-]...",
		Short: "Name versions of a model, or take names away; without names, list them",
		Long: `Give versions of a model names that calls may use in place of numbers. The alias
stable answers calls that name no version; latest is always the newest. A
running platform follows within two seconds.

Who changes a policy signs it, and builds on none that others altered; --reset
begins from an empty one.`,
		Example: `  modelserve models alias churn stable=3         # calls without a version reach 3
  modelserve models alias churn stable=4 old=3
  modelserve models alias churn old-             # take a name away
  modelserve models alias churn`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			edits, err := parseAliases(args[1:])
			if err != nil {
				return err
			}
			var change func(*model.Policy) error
			if len(edits) > 0 || reset {
				change = func(p *model.Policy) error { return applyAliases(args[0], p, edits) }
			}
			return a.policy(cmd.Context(), args[0], reset, change, aliasText)
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "remove every alias and the split first")
	return cmd
}

func (a *app) splitCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "split NAME [VERSION=WEIGHT]...",
		Short: "Share calls without a version between versions; without any, show how",
		Long: `Share the calls that name no version between several, by weight: any numbers from
1 to 1000. It goes before the alias stable, until --clear ends it. Calls that
name a version, in the URL or by X-Model-Version, are not shared. A version that
cannot be loaded fails its part of the calls: no other answers them.`,
		Example: `  modelserve models split churn 3=90 4=10
  modelserve models split churn --clear
  modelserve models split churn`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			shares, err := parseShares(args[1:])
			if err != nil {
				return err
			}
			if remove && len(shares) > 0 {
				return usagef("--clear ends the split: expected no weights beside it")
			}
			var change func(*model.Policy) error
			if remove || len(shares) > 0 {
				change = func(p *model.Policy) error {
					p.Split = shares
					return nil
				}
			}
			return a.policy(cmd.Context(), args[0], false, change, splitText)
		},
	}
	cmd.Flags().BoolVar(&remove, "clear", false, "end the split")
	return cmd
}

// policy changes a model's policy, unless change is nil, and prints it.
func (a *app) policy(ctx context.Context, name string, reset bool, change func(*model.Policy) error, text func(*policyAnswer) string) error {
	if _, err := infer.ParseName(name); err != nil {
		return &usageError{err}
	}
	return a.withStore(ctx, func(s *store) error {
		versions, err := s.Versions(ctx, name)
		if err != nil {
			return notPublished(err)
		}
		how, err := s.changing(reset)
		if err != nil {
			return err
		}
		var policy *model.Policy
		if change == nil {
			policy, err = s.SignedPolicy(ctx, name, how.Verifier)
		} else {
			policy, err = s.ChangePolicy(ctx, name, how, change)
		}
		switch {
		case err != nil && (errors.Is(err, sign.ErrUnsigned) || errors.Is(err, sign.ErrWrongSignature)):
			return fmt.Errorf("%w; `modelserve models alias %s --reset` begins anew", err, name)
		case err != nil:
			return err
		}
		answer := answerOf(name, versions, policy)
		answer.Signed = change != nil && how.Signer != nil
		if change != nil && !answer.Signed {
			a.notef("note: not signed: there is no signing key here (%s); platforms with a key do not follow it", signingKeyVariable)
		}
		if change != nil {
			if note := s.unevenSplit(ctx, name, policy.Split); note != "" {
				a.notef("note: %s", note)
			}
		}
		return a.print(answer, func() string { return text(answer) })
	})
}

// unevenSplit is a note on a split between versions of which one takes requests
// that another refuses: those succeed or fail by turns. "" is none, or one that
// cannot be looked at.
func (s *store) unevenSplit(ctx context.Context, name string, shares []model.Share) string {
	var first *model.Manifest
	for _, share := range shares {
		m, _, err := s.Manifest(ctx, model.Ref{Name: name, Version: share.Version})
		if err != nil {
			return ""
		}
		if first == nil {
			first = m
			continue
		}
		for i := range m.Inputs {
			in := &m.Inputs[i]
			other := infer.SpecOf(first.Inputs, in.Name)
			if other != nil && !slices.Equal(in.Shape, other.Shape) {
				return fmt.Sprintf("the input %q is of shape %s in %s@%d and %s in %s@%d: a request that only one of them takes is refused in turns",
					in.Name, shapeText(other.Shape), name, first.Version, shapeText(in.Shape), name, m.Version)
			}
		}
	}
	return ""
}

// changing is how this store's policies are changed.
func (s *store) changing(reset bool) (how artifact.Changing, err error) {
	how.Afresh = reset
	if how.Signer, err = s.signer(); err != nil {
		return how, err
	}
	how.Verifier, err = s.verifier()
	return how, err
}

func answerOf(name string, versions []int, p *model.Policy) *policyAnswer {
	answer := &policyAnswer{
		Name: name, Latest: versions[0], Aliases: map[string]int{}, Split: append([]model.Share{}, p.Split...),
	}
	maps.Copy(answer.Aliases, p.Aliases)
	if !p.Splits(versions) {
		answer.Default, _ = defaultOf(name, versions, p)
	}
	return answer
}

// defaultOf is what calls without a version reach where there is no split, and
// the alias that chose it, if one did.
func defaultOf(name string, versions []int, p *model.Policy) (version int, alias string) {
	version, alias, err := p.Pick(name, versions, "", func(int) int { return 0 })
	if err != nil {
		return versions[0], "" // no version was asked for, so none is missing
	}
	return version, alias
}

// aliasEdit gives an alias a version, or, with 0, takes it away.
type aliasEdit struct {
	alias   string
	version int
}

func parseAliases(words []string) ([]aliasEdit, error) {
	var edits []aliasEdit
	for _, word := range words {
		alias, number, set := strings.Cut(word, "=")
		e := aliasEdit{alias: alias}
		if set {
			v, err := infer.ParseVersion(number)
			if err != nil {
				return nil, usagef("%s: expected ALIAS=VERSION with a positive integer, got %q", alias, word)
			}
			e.version = v
		} else {
			var gone bool
			if e.alias, gone = strings.CutSuffix(word, "-"); !gone {
				return nil, usagef("expected ALIAS=VERSION to set a name or ALIAS- to take it away, got %q", word)
			}
		}
		if _, err := infer.ParseName(e.alias); err != nil || infer.IsNumber(e.alias) || e.alias == model.Latest {
			return nil, usagef("%q: expected a name of a-z, 0-9 and '-' that is no number and not latest, which is always the newest version", e.alias)
		}
		if slices.ContainsFunc(edits, func(other aliasEdit) bool { return other.alias == e.alias }) {
			return nil, usagef("%s is named twice", e.alias)
		}
		edits = append(edits, e)
	}
	return edits, nil
}

func applyAliases(name string, p *model.Policy, edits []aliasEdit) error {
	for _, e := range edits {
		if e.version > 0 {
			if p.Aliases == nil {
				p.Aliases = map[string]int{}
			}
			p.Aliases[e.alias] = e.version
			continue
		}
		if _, ok := p.Aliases[e.alias]; !ok {
			return fmt.Errorf("model %s has no alias %q to take away", name, e.alias)
		}
		delete(p.Aliases, e.alias)
	}
	return nil
}

func parseShares(words []string) ([]model.Share, error) {
	var shares []model.Share
	for _, word := range words {
		number, weight, _ := strings.Cut(word, "=")
		v, err := infer.ParseVersion(number)
		w, errWeight := strconv.Atoi(weight)
		if err != nil || errWeight != nil || w < 1 || w > model.MaxWeight {
			return nil, usagef("expected VERSION=WEIGHT with a weight from 1 to %d, such as 3=90; got %q", model.MaxWeight, word)
		}
		if slices.ContainsFunc(shares, func(other model.Share) bool { return other.Version == v }) {
			return nil, usagef("version %d is named twice", v)
		}
		shares = append(shares, model.Share{Version: v, Weight: w})
	}
	return shares, nil
}

func aliasText(p *policyAnswer) string {
	t := table{head: []string{"ALIAS", "VERSION", ""}}
	row := func(alias string, version int) {
		remark := ""
		if p.Default == version && (alias == model.Stable || alias == model.Latest && p.Aliases[model.Stable] != version) {
			remark = "calls without a version"
		}
		t.add(alias, strconv.Itoa(version), remark)
	}
	row(model.Latest, p.Latest)
	for _, alias := range slices.Sorted(maps.Keys(p.Aliases)) {
		row(alias, p.Aliases[alias])
	}
	text := t.String()
	if p.Default == 0 {
		text += "calls without a version are split: " + shareList(p.Split) + "\n"
	}
	return text
}

func splitText(p *policyAnswer) string {
	if len(p.Split) == 0 {
		return fmt.Sprintf("%s has no split: calls without a version reach %s@%d\n", p.Name, p.Name, p.Default)
	}
	total := 0
	for _, s := range p.Split {
		total += s.Weight
	}
	t := table{head: []string{"VERSION", "WEIGHT", "SHARE"}}
	for _, s := range p.Split {
		t.add(strconv.Itoa(s.Version), strconv.Itoa(s.Weight), fmt.Sprintf("%.1f%%", 100*float64(s.Weight)/float64(total)))
	}
	return t.String()
}

// aliasList and shareList write a policy on one line, as the commands take it.
func aliasList(aliases map[string]int) string {
	var words []string
	for _, alias := range slices.Sorted(maps.Keys(aliases)) {
		words = append(words, alias+"="+strconv.Itoa(aliases[alias]))
	}
	return strings.Join(words, " ")
}

func shareList(split []model.Share) string {
	words := make([]string, len(split))
	for i, s := range split {
		words[i] = strconv.Itoa(s.Version) + "=" + strconv.Itoa(s.Weight)
	}
	return strings.Join(words, " ")
}

// policyInForce is a model's policy as platforms with our key follow it, and
// what is wrong with the one that is there.
func (s *store) policyInForce(ctx context.Context, name string) (*model.Policy, error) {
	v, err := s.verifier()
	if err != nil {
		return &model.Policy{}, err
	}
	p, err := s.SignedPolicy(ctx, name, v)
	if err != nil {
		return &model.Policy{}, err
	}
	return p, nil
}

// inUse adds what to do about a version that is not deleted because the policy
// names it.
func inUse(name string, err error) error {
	if err != nil && problem.CodeOf(err) == problem.Conflict {
		return fmt.Errorf("%w; `modelserve models alias %s` and `modelserve models split %s` do", err, name, name)
	}
	return notPublished(err)
}
