package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/pipelines/registry"
	"github.com/modelserveai/modelserve/problem"
)

// letters is which dead letters are meant.
type letters struct {
	query    record.DeadQuery
	step     string
	replayed *bool
}

func (c *call) letters() (*letters, error) {
	l := &letters{query: record.DeadQuery{Tenant: c.tenant}}
	var err error
	if l.query.Pipeline, err = c.query.name(contract.ParamPipeline); err != nil {
		return nil, err
	}
	if l.query.Execution, err = c.query.id(contract.ParamExecution, envelope.IsExecution); err != nil {
		return nil, err
	}
	if l.step, err = c.query.id(contract.ParamStep, envelope.IsStep); err != nil {
		return nil, err
	}
	if len(c.query[contract.ParamReplayed]) > 0 {
		replayed := c.query.text(contract.ParamReplayed) == "true"
		if !replayed && c.query.text(contract.ParamReplayed) != "false" {
			return nil, problem.Invalid(contract.ParamReplayed, "expected true or false")
		}
		l.replayed = &replayed
	}
	return l, nil
}

// fits reports what the store does not look at.
func (l *letters) fits(d *record.DeadLetter) bool {
	return (l.step == "" || l.step == d.Step) && (l.replayed == nil || *l.replayed == (d.ReplayedBy != ""))
}

// mostPages bounds the pages of the store that one request reads.
const mostPages = 20

// read visits the letters that fit, newest first, until visit is false or as many pages
// were read as may be. next is where it goes on; zero is the end.
func (a *API) read(ctx context.Context, l *letters, visit func(*record.DeadLetter) bool) (next record.Cursor, err error) {
	q := l.query
	for range mostPages {
		page, err := a.deps.Store.DeadLetters(ctx, q)
		if err != nil {
			return record.Cursor{}, err //nolint:wrapcheck // serve does
		}
		for i, d := range page.Letters {
			if !l.fits(d) || visit(d) {
				continue
			}
			if i == len(page.Letters)-1 {
				return page.Next, nil
			}
			return record.Cursor{At: d.At, ID: d.ID}, nil
		}
		if q.After = page.Next; q.After.IsZero() {
			break
		}
	}
	return q.After, nil
}

func (a *API) listDeadLetters(w http.ResponseWriter, c *call) error {
	l, err := c.letters()
	if err != nil {
		return err
	}
	if l.query.Limit, l.query.After, err = c.query.page(); err != nil {
		return err
	}
	limit := l.query.Limit
	if l.step != "" || l.replayed != nil {
		l.query.Limit = record.MaxPage
	}
	out := contract.DeadLetters{DeadLetters: []contract.DeadLetter{}}
	next, err := a.read(c.Context(), l, func(d *record.DeadLetter) bool {
		out.DeadLetters = append(out.DeadLetters, deadLetterOf(d))
		return len(out.DeadLetters) < limit
	})
	if err != nil {
		return err
	}
	out.NextCursor = next.String()
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) showDeadLetter(w http.ResponseWriter, c *call) error {
	d, err := a.deps.Store.DeadLetter(c.Context(), c.tenant, c.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	return writeJSON(w, http.StatusOK, deadLetterOf(d))
}

// replayDeadLetter is POST /v1/dead-letters/{id}/replay: from the step that failed, or
// another.
func (a *API) replayDeadLetter(w http.ResponseWriter, c *call) error {
	how, err := a.again(c)
	if err != nil {
		return err
	}
	d, err := a.deps.Store.DeadLetter(c.Context(), c.tenant, c.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	accepted, err := a.replayLetter(c, d, *how)
	if err != nil {
		return err
	}
	return a.begun(w, c, accepted.Loaded, 0)
}

// replayLetter replays a letter, from the step that failed where how names none.
func (a *API) replayLetter(c *call, d *record.DeadLetter, how again) (*record.Accepted, error) {
	of, err := a.deps.Store.Get(c.Context(), c.tenant, d.Execution)
	if err != nil {
		return nil, err //nolint:wrapcheck // serve does
	}
	how.from, how.letter = cmp.Or(how.from, d.Step), d.ID
	return a.replayed(c, of, how)
}

// replayDeadLetters is POST /v1/dead-letters/replay: those that were not replayed yet. Of
// an execution with several one is, and the others are done with it.
func (a *API) replayDeadLetters(w http.ResponseWriter, c *call) error {
	l, err := c.letters()
	if err != nil {
		return err
	}
	version, err := c.query.number(contract.ParamVersion, 1, maxVersion, 0)
	if err != nil {
		return err
	}
	limit, err := c.query.number(contract.ParamLimit, 1, contract.MaxLimit, contract.DefaultLimit)
	if err != nil {
		return err
	}
	if l.query.After, err = record.ParseCursor(c.query.text(contract.ParamCursor)); err != nil {
		return errCursor()
	}
	replayed := false
	l.replayed, l.query.Limit = &replayed, record.MaxPage
	var meant []*record.DeadLetter
	seen := map[string]bool{} // executions
	next, err := a.read(c.Context(), l, func(d *record.DeadLetter) bool {
		if !seen[d.Execution] {
			seen[d.Execution], meant = true, append(meant, d)
		}
		return len(meant) < limit
	})
	if err != nil {
		return err
	}
	out := contract.Replays{Replays: []contract.Replay{}, More: !next.IsZero(), NextCursor: next.String()}
	for i, d := range meant {
		one, err := a.replayOnce(c, d, version)
		if err != nil && len(out.Replays) == 0 {
			return err
		}
		if err != nil { // what was replayed before is reported, and where to go on
			out.Replays = append(out.Replays, contract.Replay{DeadLetter: d.ID, Error: contract.FailureOf(err)})
			out.More, out.NextCursor = true, record.Cursor{At: meant[i-1].At, ID: meant[i-1].ID}.String()
			break
		}
		if one != nil {
			out.Replays = append(out.Replays, *one)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// replayOnce replays a letter, unless another of its execution was; then it is nil. Two
// requests that find the same letter at the same time get the same execution. An error
// ends all of them: it is not the letter's own.
func (a *API) replayOnce(c *call, d *record.DeadLetter, version int) (*contract.Replay, error) {
	all, err := a.deps.Store.DeadLetters(c.Context(), record.DeadQuery{Tenant: c.tenant, Execution: d.Execution, Limit: record.MaxPage})
	if err != nil {
		return nil, err //nolint:wrapcheck // serve does
	}
	for _, other := range all.Letters {
		if other.ReplayedBy != "" {
			return nil, nil //nolint:nilnil // there is nothing to do
		}
	}
	one := &contract.Replay{DeadLetter: d.ID}
	accepted, err := a.replayLetter(c, d, again{version: version, once: true})
	if err = registry.Problem(err); err != nil {
		if slices.Contains([]problem.Code{problem.Unavailable, problem.Internal, problem.Overloaded, problem.Cancelled, problem.DeadlineExceeded}, problem.CodeOf(err)) {
			return nil, err
		}
		one.Error = contract.FailureOf(err)
		return one, nil
	}
	one.Execution = accepted.Execution.ID
	return one, nil
}
