package artifact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// PolicyReader is a Store whose policies are verified by a key: one that was
// altered, or replaced by an older state, is not followed. The last good one stays
// in force, and that is logged. It is safe for concurrent use.
type PolicyReader struct {
	*Store

	verifier *sign.Verifier
	kept     LastGood // nil is none
	logger   *slog.Logger

	mu       sync.Mutex
	known    map[string]*knownPolicy
	askAgain time.Time // what keeps policies, after it did not answer
}

// knownPolicy is the last good policy of a model.
type knownPolicy struct {
	policy     *model.Policy
	generation int64
	kept       int64  // the generation that is kept beyond the process
	fault      string // of what was there last, as it was logged; "" is none
	keeping    string // what was wrong with what is kept, as it was logged
}

// maxKnown bounds the policies that are remembered.
const maxKnown = 10_000

// What keeps policies holds nobody up for long: one that does not answer is left alone
// for a while.
const (
	keepTimeout = time.Second
	keepPause   = 5 * time.Second
)

// NewPolicyReader reads policies of store. A nil verifier follows every policy
// that can be read.
func NewPolicyReader(store *Store, verifier *sign.Verifier, logger *slog.Logger) *PolicyReader {
	return &PolicyReader{Store: store, verifier: verifier, logger: logger, known: map[string]*knownPolicy{}}
}

// Keeping has the reader keep what it follows beyond the process, and follow nothing
// older than what is kept there, by whatever process. While what keeps it is away, what
// this process has seen decides. It is for before the first Policy. Without a verifier
// nothing is kept.
func (r *PolicyReader) Keeping(kept LastGood) *PolicyReader {
	if r.verifier != nil {
		r.kept = kept
	}
	return r
}

// Policy reads a model's policy; without one, or with none that was ever good,
// it is the zero policy. An error is one of S3 alone.
func (r *PolicyReader) Policy(ctx context.Context, name string) (*model.Policy, error) {
	r.recall(ctx, name)
	have, err := r.check(ctx, name)
	if errors.Is(err, errOlder) {
		have, err = r.check(ctx, name) // of two concurrent reads, the later was faster
	}
	switch {
	case err == nil:
		return r.follow(ctx, name, have), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case notToFollow(err):
		return r.refuse(ctx, name, err), nil
	default:
		return nil, err
	}
}

// notToFollow reports whether the fault is the policy's own.
func notToFollow(err error) bool {
	var bad unreadable
	return errors.As(err, &bad) || errors.Is(err, errOlder) || errors.Is(err, sign.ErrUnsigned) || errors.Is(err, sign.ErrWrongSignature)
}

// errOlder is a good policy that is older than one seen before.
var errOlder = errors.New("it is older than the last good one, which somebody replaced by it; change the policy again to write a newer one")

// check reads a policy; an error is the reason not to follow it.
func (r *PolicyReader) check(ctx context.Context, name string) (*policyVersion, error) {
	have, err := r.policy(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := have.verify(r.verifier); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.known[name]; r.verifier != nil && known != nil && have.tag != "" && have.Generation < known.generation {
		return nil, fmt.Errorf("%s: %w", model.PolicyFile, errOlder)
	}
	return have, nil
}

// recall learns what is kept of a model, each time, for another process may have kept
// it. It must have been signed, too, and where the keys were replaced since, it was for
// nobody.
func (r *PolicyReader) recall(ctx context.Context, name string) {
	if r.kept == nil || r.away() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	data, err := r.kept.KeptPolicy(bounded, name)
	if err != nil {
		r.hangs(ctx, bounded)
		r.cannotKeep(ctx, name, err)
		return
	}
	var have *policyVersion
	if data != nil {
		have, err = parseRead(name, data, nil)
		if err == nil {
			have.tag = "kept"
			err = have.verify(r.verifier)
		}
	}
	if err != nil {
		r.cannotKeep(ctx, name, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.entry(name, have != nil)
	if known == nil {
		return
	}
	known.kept = 0 // where it was lost, what is followed is kept again
	if have != nil {
		known.kept = have.Generation
	}
	if have != nil && have.Generation > known.generation {
		known.policy, known.generation = &have.Policy, have.Generation
	}
	if known.kept >= known.generation {
		known.keeping = ""
	}
}

// away reports whether what keeps policies did not answer a moment ago.
func (r *PolicyReader) away() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.askAgain)
}

// hangs notes that what keeps policies did not answer in time, if it was not the caller
// who went.
func (r *PolicyReader) hangs(ctx, bounded context.Context) {
	if ctx.Err() != nil || bounded.Err() == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.askAgain = time.Now().Add(keepPause)
}

// follow remembers a good policy. One that was deleted leaves its generation
// behind, so that an older one does not come back by that way.
func (r *PolicyReader) follow(ctx context.Context, name string, have *policyVersion) *model.Policy {
	policy := &have.Policy
	r.mu.Lock()
	known := r.entry(name, have.tag != "")
	keep := false
	if known != nil {
		known.policy, known.generation, known.fault = policy, max(known.generation, have.Generation), ""
		keep = r.kept != nil && have.Generation > known.kept
	}
	r.mu.Unlock()
	if keep {
		r.keep(ctx, name, have)
	}
	return policy
}

// keep keeps a policy beyond the process. Where that fails it is tried again when the
// policy is next read.
func (r *PolicyReader) keep(ctx context.Context, name string, have *policyVersion) {
	if r.away() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := r.kept.KeepPolicy(bounded, name, have.Generation, have.data); err != nil {
		r.hangs(ctx, bounded)
		r.cannotKeep(ctx, name, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.known[name]; known != nil {
		known.kept = max(known.kept, have.Generation)
	}
}

// cannotKeep logs, once, what is wrong with what is kept. No call fails for it.
func (r *PolicyReader) cannotKeep(ctx context.Context, name string, err error) {
	r.mu.Lock()
	known := r.entry(name, true)
	logged := known.keeping == err.Error()
	known.keeping = err.Error()
	r.mu.Unlock()
	if !logged && ctx.Err() == nil {
		r.logger.ErrorContext(ctx, "the newest policy of a model is not kept: after a restart an older one, if it is signed, would be followed", "model", name, "error", err)
	}
}

// refuse is the last good policy, in place of one that is not to be followed.
func (r *PolicyReader) refuse(ctx context.Context, name string, err error) *model.Policy {
	r.mu.Lock()
	known := r.entry(name, true)
	policy, logged := known.policy, known.fault == err.Error()
	known.fault = err.Error()
	r.mu.Unlock()
	if !logged {
		r.logger.ErrorContext(ctx, "a model's policy is not followed; the last good one stays in force", "model", name, "error", err)
	}
	return policy
}

// entry finds what is known of a model, and with add makes an entry for it. The
// caller holds mu.
func (r *PolicyReader) entry(name string, add bool) *knownPolicy {
	known := r.known[name]
	if known != nil || !add {
		return known
	}
	if len(r.known) >= maxKnown {
		for other := range r.known { // any: map order is random
			delete(r.known, other)
			break
		}
	}
	known = &knownPolicy{policy: &model.Policy{}}
	r.known[name] = known
	return known
}
