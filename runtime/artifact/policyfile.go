package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// policyKey is the key of a model's policy.
func policyKey(name string) string { return modelsPrefix + name + "/" + model.PolicyFile }

// policyVersion is one state of policy.json.
type policyVersion struct {
	model.SignedPolicy

	data []byte // the whole object
	tag  string // its ETag; "" where there is no object
}

// signing is what a signer does; nil where there is none.
func signing(s *sign.Signer) func([]byte) []byte {
	if s == nil {
		return nil
	}
	return s.Sign
}

// verify checks the signatures; a nil v accepts everything, and so is a policy
// that is not there.
func (p *policyVersion) verify(v *sign.Verifier) error {
	if v == nil || p.tag == "" {
		return nil
	}
	if err := v.Verify(p.Signed, p.Signatures); err != nil {
		return fmt.Errorf("%s: %w", model.PolicyFile, err)
	}
	return nil
}

// unreadable is the error of a policy.json that is no policy.
type unreadable struct{ error }

func (u unreadable) Unwrap() error { return u.error }

// Policy reads a model's policy; a model without one has the zero policy. Its
// signature is not looked at: see SignedPolicy and PolicyReader.
func (s *Store) Policy(ctx context.Context, name string) (*model.Policy, error) {
	have, err := s.policy(ctx, name)
	if err != nil {
		return nil, err
	}
	return &have.Policy, nil
}

// SignedPolicy is Policy, and refuses what v does not accept; a nil v accepts
// everything.
func (s *Store) SignedPolicy(ctx context.Context, name string, v *sign.Verifier) (*model.Policy, error) {
	have, err := s.policy(ctx, name)
	if err == nil {
		if wrong := have.verify(v); wrong != nil {
			err = problem.New(problem.Conflict, "the policy of model %s: %w", name, wrong)
		}
	}
	if err != nil {
		return nil, err
	}
	return &have.Policy, nil
}

func (s *Store) policy(ctx context.Context, name string) (*policyVersion, error) {
	if _, err := infer.ParseName(name); err != nil {
		return nil, err
	}
	data, tag, err := s.readTagged(ctx, policyKey(name), model.MaxPolicy)
	if errors.Is(err, errMissing) {
		return &policyVersion{}, nil
	}
	p, err := parseRead(name, data, err)
	var bad unreadable
	if err != nil && !errors.As(err, &bad) {
		return nil, problem.New(problem.Unavailable, "read the policy of model %s: %w", name, err)
	}
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the policy of model %s: %w", name, bad)
	}
	p.tag = tag
	return p, nil
}

// parseRead is model.ParsePolicy of what readTagged returned; a fault of the object
// itself is unreadable.
func parseRead(name string, data []byte, err error) (*policyVersion, error) {
	if large := (tooLarge{}); errors.As(err, &large) {
		return nil, unreadable{fmt.Errorf("%s: it %w", model.PolicyFile, large)}
	}
	if err != nil {
		return nil, err
	}
	p, err := model.ParsePolicy(name, data)
	if err != nil {
		return nil, unreadable{err}
	}
	return &policyVersion{SignedPolicy: *p, data: data}, nil
}

// Changing is how a policy is changed.
type Changing struct {
	Signer *sign.Signer // nil leaves it unsigned

	// Verifier refuses to build on a policy that somebody else altered; nil takes
	// what is there.
	Verifier *sign.Verifier

	// Afresh begins from the zero policy, whatever is there.
	Afresh bool
}

// Others may change the policy at the same time: a change is tried so often,
// after a wait of up to policyWait each.
const (
	policyTries = 20
	policyWait  = 50 * time.Millisecond
)

// ChangePolicy lets change edit a model's policy and writes it, in place of
// what it read and of nothing else: when somebody was faster, change is called
// again with what they wrote. Aliases and shares must be of published versions;
// a bad policy, and a new split between versions of different signatures, is
// problem.InvalidArgument.
func (s *Store) ChangePolicy(ctx context.Context, name string, how Changing, change func(*model.Policy) error) (*model.Policy, error) {
	for range policyTries {
		have, err := s.policyToChange(ctx, name, how)
		if err != nil {
			return nil, err
		}
		next := model.PolicyState{Schema: model.Schema, Name: name, Policy: have.Policy}
		next.Generation = max(have.Generation+1, time.Now().UnixMilli())
		if err := change(&next.Policy); err != nil {
			return nil, err
		}
		if err := s.checkPolicy(ctx, name, &next.Policy); err != nil {
			return nil, err
		}
		if !slices.Equal(next.Split, have.Split) {
			if err := s.checkSplit(ctx, name, next.Split); err != nil {
				return nil, err
			}
		}
		data, err := next.Marshal(signing(how.Signer))
		if err != nil {
			return nil, err
		}
		err = s.put(ctx, policyKey(name), bytes.NewReader(data), condition{new: have.tag == "", match: have.tag})
		switch {
		case err == nil:
			s.announce(ctx)
			return &next.Policy, nil
		case !errors.Is(err, errTaken) && !errors.Is(err, errMissing):
			return nil, problem.New(problem.Unavailable, "change the policy of model %s: %w", name, err)
		}
		// An answer lost on the way makes the client try again, and find what it
		// wrote itself.
		if now, err := s.policy(ctx, name); err == nil && bytes.Equal(now.data, data) {
			s.announce(ctx)
			return &next.Policy, nil
		}
		select {
		case <-time.After(rand.N(policyWait)): //nolint:gosec // a jitter, no secret
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, problem.New(problem.Conflict, "the policy of model %s: others changed it %d times in a row; try again", name, policyTries)
}

// policyToChange reads what a change begins with.
func (s *Store) policyToChange(ctx context.Context, name string, how Changing) (*policyVersion, error) {
	if how.Afresh {
		if _, err := infer.ParseName(name); err != nil {
			return nil, err
		}
		return s.discarded(ctx, name)
	}
	have, err := s.policy(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := have.verify(how.Verifier); err != nil {
		return nil, problem.New(problem.Conflict, "the policy of model %s cannot be changed, as it is not verified: %w", name, err)
	}
	return have, nil
}

// discarded is the zero policy with the tag of what is there, and its
// generation if that can be read.
func (s *Store) discarded(ctx context.Context, name string) (*policyVersion, error) {
	data, tag, err := s.readTagged(ctx, policyKey(name), model.MaxPolicy)
	if errors.Is(err, errDamaged) { // there is no tag of what would be replaced
		if err := s.removeAll(ctx, []string{policyKey(name)}); err != nil {
			return nil, problem.New(problem.Unavailable, "remove the damaged policy of model %s: %w", name, err)
		}
		return &policyVersion{}, nil
	}
	if errors.Is(err, errMissing) {
		return &policyVersion{}, nil
	}
	old, err := parseRead(name, data, err)
	if err != nil && !errors.As(err, new(unreadable)) {
		return nil, problem.New(problem.Unavailable, "read the policy of model %s: %w", name, err)
	}
	p := &policyVersion{tag: tag}
	if err == nil {
		p.Generation = min(old.Generation, time.Now().Add(time.Hour).UnixMilli()) // or who altered it would have used them up
	}
	return p, nil
}

// checkPolicy holds a policy to its rules and to what is published.
func (s *Store) checkPolicy(ctx context.Context, name string, p *model.Policy) error {
	if err := p.Check(); err != nil {
		return problem.New(problem.InvalidArgument, "the policy of model %s: %w", name, err)
	}
	versions, err := s.Versions(ctx, name)
	if err != nil {
		return err
	}
	var c model.Checker
	for alias, v := range p.Aliases {
		c.Require(slices.Contains(versions, v), "aliases["+alias+"]", "version %d is not published", v)
	}
	for _, share := range p.Split {
		c.Require(slices.Contains(versions, share.Version), "split", "version %d is not published", share.Version)
	}
	if err := c.Err(); err != nil {
		return problem.New(problem.InvalidArgument, "the policy of model %s: %w; the newest version is %d", name, err, versions[0])
	}
	return nil
}

// checkSplit refuses to share calls between versions that take or give
// different tensors: what one answers, the other would refuse.
func (s *Store) checkSplit(ctx context.Context, name string, shares []model.Share) error {
	var first *model.Manifest
	for _, share := range shares {
		m, _, err := s.Manifest(ctx, model.Ref{Name: name, Version: share.Version})
		if err != nil {
			return err
		}
		if first == nil {
			first = m
			continue
		}
		if why := first.Differs(&m.Signature); why != "" {
			return problem.New(problem.InvalidArgument,
				"the split of model %s: versions %d and %d differ in what they take or give, so that callers would be answered in turns: %s", name, first.Version, m.Version, why)
		}
	}
	return nil
}
