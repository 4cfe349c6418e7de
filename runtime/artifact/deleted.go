package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// ErrDeleted is behind the refusal of a version number that was published and
// deleted: callers may have pinned it, and would get another model.
var ErrDeleted = errors.New("a number is never used again, as callers may have pinned it")

// deletedPrefix holds an object for each model of which a version was deleted.
// It stays when the model itself goes. No model's name begins so.
const deletedPrefix = modelsPrefix + "_deleted/"

// Bounds on the record of a model's deleted versions. Beyond maxSpans the
// lowest are joined: numbers between them, which nobody used, are refused then.
const (
	maxDeleted = 128 << 10 // bytes
	maxSpans   = 4096
)

func deletedKey(name string) string { return deletedPrefix + name + ".json" }

// deletedVersions is the record of a model's deleted versions.
type deletedVersions struct {
	Schema int    `json:"schema"` // 1
	Name   string `json:"name"`
	Spans  []span `json:"deleted"` // rising, apart

	tag string // the object's ETag; "" where there is none
}

// span is the numbers from its first to its last.
type span [2]int

// has reports whether a version was deleted.
func (d *deletedVersions) has(version int) bool {
	return slices.ContainsFunc(d.Spans, func(s span) bool { return s[0] <= version && version <= s[1] })
}

// last is the highest number that was deleted; 0 is none.
func (d *deletedVersions) last() int {
	if len(d.Spans) == 0 {
		return 0
	}
	return d.Spans[len(d.Spans)-1][1]
}

// add records numbers, and reports whether any is new.
func (d *deletedVersions) add(versions []int) bool {
	added := false
	for _, v := range versions {
		if !d.has(v) {
			d.Spans, added = append(d.Spans, span{v, v}), true
		}
	}
	slices.SortFunc(d.Spans, func(a, b span) int { return a[0] - b[0] })
	var joined []span
	for _, s := range d.Spans {
		if n := len(joined); n > 0 && joined[n-1][1]+1 == s[0] {
			joined[n-1][1] = s[1]
			continue
		}
		joined = append(joined, s)
	}
	if over := len(joined) - maxSpans; over > 0 {
		joined[over][0] = joined[0][0]
		joined = joined[over:]
	}
	d.Spans = joined
	return added
}

// check returns every rule that the record of a model's deleted versions breaks.
func (d *deletedVersions) check(name string) error {
	var c model.Checker
	c.Require(d.Schema == model.Schema, "schema", "expected %d, got %d", model.Schema, d.Schema)
	c.Require(d.Name == name, "name", "expected %q, got %.100q", name, d.Name)
	c.Require(len(d.Spans) <= maxSpans, "deleted", "at most %d, got %d", maxSpans, len(d.Spans))
	before := 0
	for i, s := range d.Spans {
		c.Require(s[0] > before && s[1] >= s[0] && s[1] <= infer.MaxVersion, "deleted["+strconv.Itoa(i)+"]",
			"expected two numbers from %d to %d, rising; got %d and %d", before+1, infer.MaxVersion, s[0], s[1])
		before = s[1]
	}
	return c.Err()
}

// deleted reads which versions of a model were deleted. A record that cannot be
// read is an error: nobody knows then which numbers are free.
func (s *Store) deleted(ctx context.Context, name string) (*deletedVersions, error) {
	d := &deletedVersions{Schema: model.Schema, Name: name}
	data, tag, err := s.readTagged(ctx, deletedKey(name), maxDeleted)
	if errors.Is(err, errMissing) {
		return d, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, d, json.RejectUnknownMembers(true)); err == nil {
			err = d.check(name)
		}
	}
	if err != nil {
		return nil, problem.New(problem.Unavailable, "read which versions of model %s were deleted, in %s: %w", name, deletedKey(name), err)
	}
	d.tag = tag
	return d, nil
}

// recordDeleted writes down that versions are about to be deleted, before they
// are: whoever no longer finds one finds its number here.
func (s *Store) recordDeleted(ctx context.Context, name string, versions []int) error {
	for range policyTries {
		have, err := s.deleted(ctx, name)
		if err != nil {
			return err
		}
		if !have.add(versions) {
			return nil
		}
		data, err := json.Marshal(have, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("write which versions of model %s were deleted: %w", name, err)
		}
		err = s.put(ctx, deletedKey(name), bytes.NewReader(append(data, '\n')), condition{new: have.tag == "", match: have.tag})
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errTaken) && !errors.Is(err, errMissing):
			return problem.New(problem.Unavailable, "write which versions of model %s were deleted: %w", name, err)
		}
		// Somebody else deleted one, or this is our own write, whose answer was
		// lost: either shows when it is read again.
		select {
		case <-time.After(rand.N(policyWait)): //nolint:gosec // a jitter, no secret
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return problem.New(problem.Conflict, "model %s: others deleted versions %d times in a row; try again", name, policyTries)
}

// CheckNumber refuses a number that a deleted version had (ErrDeleted,
// problem.VersionExists). It does not look whether one is published under it.
func (s *Store) CheckNumber(ctx context.Context, ref model.Ref) error {
	if err := ref.Check(); err != nil {
		return err
	}
	gone, err := s.deleted(ctx, ref.Name)
	if err != nil {
		return err
	}
	if gone.has(ref.Version) {
		return problem.New(problem.VersionExists,
			"version %d of model %s was deleted, and %w: leave the version out to take the next", ref.Version, ref.Name, ErrDeleted)
	}
	return nil
}
