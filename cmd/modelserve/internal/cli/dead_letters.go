package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/problem"
)

func (a *app) deadLettersCommand() *cobra.Command {
	return group("dead-letters", "Show steps that failed for good, and run them again",
		a.deadLettersListCommand(), a.deadLettersShowCommand(), a.deadLettersReplayCommand())
}

// letterFilter is which dead letters are meant.
type letterFilter struct {
	pipeline, step, execution string
}

func (f *letterFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.pipeline, "pipeline", "", "of this pipeline")
	cmd.Flags().StringVar(&f.step, "step", "", "of this step")
	cmd.Flags().StringVar(&f.execution, "execution", "", "of the execution of this `ID`")
}

// none reports whether the filter is of all.
func (f *letterFilter) none() bool { return *f == letterFilter{} }

func (f *letterFilter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{contract.ParamPipeline: f.pipeline, contract.ParamStep: f.step, "execution": f.execution} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func (a *app) deadLettersListCommand() *cobra.Command {
	var filter letterFilter
	var all bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, newest first",
		Long:  "List the dead letters that were not replayed yet, newest first; --all lists the others too.",
		Example: `  modelserve dead-letters list
  modelserve dead-letters list --pipeline read-document --step detect --all`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit: expected 1 or more, or 0 for all, got %d", limit)
			}
			query := filter.query()
			if !all {
				query.Set(contract.ParamReplayed, "false")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			letters, err := pages[contract.DeadLetter](cmd.Context(), c, contract.DeadLettersPath, "dead_letters", query, limit)
			if err != nil {
				return err
			}
			return a.print(contract.DeadLetters{DeadLetters: letters}, func() string { return letterTable(letters) })
		},
	}
	filter.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also those that were replayed")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

func letterTable(letters []contract.DeadLetter) string {
	t := table{head: []string{"ID", "PIPELINE", "STEP", "ATTEMPTS", "CREATED", "EXECUTION", "REPLAYED BY", "ERROR"}}
	for _, l := range letters {
		why := ""
		if l.Error != nil {
			why = visible(l.Error.Detail)
		}
		t.add(l.ID, pipelineText(l.Pipeline, l.Version), letterStep(l), strconv.Itoa(l.Attempts), l.CreatedAt.UTC().Format(time.DateTime),
			l.Execution, firstOf(l.ReplayedBy, "-"), why)
	}
	return t.String()
}

func letterStep(l contract.DeadLetter) string {
	if l.Item == nil {
		return l.Step
	}
	return fmt.Sprintf("%s[%d]", l.Step, *l.Item)
}

func (a *app) deadLettersShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a dead letter: what failed, and why",
		Example: "  modelserve dead-letters show 01JD2M9B7K",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			l, err := c.deadLetter(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(l, func() string { return describeLetter(l) })
		},
	}
}

func (c *client) deadLetter(ctx context.Context, id string) (*contract.DeadLetter, error) {
	var l contract.DeadLetter
	if err := c.call(ctx, http.MethodGet, contract.PathOf(contract.DeadLetterPath, id), nil, &l); err != nil {
		return nil, noLetter(err)
	}
	return &l, nil
}

func noLetter(err error) error {
	if problem.CodeOf(err) == problem.NotFound {
		return fmt.Errorf("%w; `modelserve dead-letters list --all` shows which there are", err)
	}
	return err
}

func describeLetter(l *contract.DeadLetter) string {
	var b strings.Builder
	for _, line := range [][2]string{
		{"dead letter", l.ID},
		{"execution", l.Execution},
		{"pipeline", pipelineText(l.Pipeline, l.Version)},
		{"step", letterStep(*l)},
		{"attempts", strconv.Itoa(l.Attempts)},
		{"created", l.CreatedAt.UTC().Format(time.DateTime)},
		{"replayed by", firstOf(l.ReplayedBy, "-")},
	} {
		fmt.Fprintf(&b, "%-12s %s\n", line[0], line[1])
	}
	if l.Error != nil {
		b.WriteString("\n" + problemText(l.Error) + "\n")
	}
	return b.String()
}

func (a *app) deadLettersReplayCommand() *cobra.Command {
	var (
		filter      letterFilter
		all         bool
		from, input string
		version     int
	)
	cmd := &cobra.Command{
		Use:   "replay {ID… | --pipeline NAME | --step NAME | --execution ID | --all}",
		Short: "Run again what failed for good",
		Long: `Start a new execution for each dead letter: from the step that failed, with the
outputs before it as they were recorded. --from begins at another step. --input is
the execution's input from then on, in place of its own. With
filters, those that were not replayed yet are, the newest first; one execution of
several dead letters is replayed once.`,
		Example: `  modelserve dead-letters replay 01JD2M9B7K
  modelserve dead-letters replay --pipeline read-document --step recognize
  modelserve dead-letters replay 01JD2M9B7K --from detect
  modelserve dead-letters replay 01JD2M9B7K --from detect --input page.png`,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, ids []string) error {
			many := all || !filter.none()
			switch {
			case many == (len(ids) > 0):
				return usagef("name dead letters by their ids, or many by --pipeline, --step, --execution or --all")
			case many && (from != "" || input != ""):
				return usagef("--from and --input go with ids")
			case version < 0:
				return usagef("--version: expected a number from 1 on, got %d", version)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if many {
				return a.replayLetters(cmd.Context(), c, filter.query(), version)
			}
			r := replaying{c: c, from: from, input: input, version: version}
			return a.replayEach(cmd.Context(), ids, r)
		},
	}
	filter.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that were not replayed yet")
	cmd.Flags().StringVar(&from, "from", "", "the `step` to begin at (the one that failed)")
	cmd.Flags().StringVar(&input, "input", "", "a `FILE` of the corrected input, or JSON")
	cmd.Flags().IntVar(&version, "version", 0, "the pipeline's version `N` (that of the execution)")
	return cmd
}

// replaying is how dead letters are replayed one by one.
type replaying struct {
	c           *client
	from, input string
	version     int
}

func (a *app) replayEach(ctx context.Context, ids []string, r replaying) error {
	var replays contract.Replays
	for _, id := range ids {
		x, err := a.replayOne(ctx, id, r)
		one := contract.Replay{DeadLetter: id}
		if err != nil {
			if len(ids) == 1 {
				return err
			}
			one.Error = contract.FailureOf(err)
			if problem.CodeOf(err) == problem.Internal {
				one.Error.Detail = err.Error()
			}
		} else {
			one.Execution = x.ID
		}
		replays.Replays = append(replays.Replays, one)
	}
	return a.printReplays(&replays)
}

func (a *app) replayOne(ctx context.Context, id string, r replaying) (*contract.Execution, error) {
	query := url.Values{}
	if r.from != "" {
		query.Set(contract.ParamFrom, r.from)
	}
	if r.version > 0 {
		query.Set(contract.ParamVersion, strconv.Itoa(r.version))
	}
	send := &sending{method: http.MethodPost, path: withQuery(contract.PathOf(contract.DeadLetterReplayPath, id), query)}
	if r.input != "" {
		given, err := a.given(r.input)
		if err != nil {
			return nil, err
		}
		send.body, send.contentType = given.body, given.contentType
	}
	var x contract.Execution
	_, err := r.c.send(ctx, send, &x)
	return &x, noLetter(err)
}

// replayLetters replays all that a filter fits.
func (a *app) replayLetters(ctx context.Context, c *client, query url.Values, version int) error {
	if version > 0 {
		query.Set(contract.ParamVersion, strconv.Itoa(version))
	}
	query.Set(contract.ParamLimit, strconv.Itoa(contract.MaxLimit))
	var replays contract.Replays
	at := map[string]int{}
	for {
		var some contract.Replays
		if err := c.call(ctx, http.MethodPost, withQuery(contract.DeadLettersReplayPath, query), nil, &some); err != nil {
			if len(replays.Replays) == 0 {
				return err
			}
			return errors.Join(a.printReplays(&replays), fmt.Errorf("the rest was not replayed: %w", err))
		}
		for _, one := range some.Replays {
			if i, known := at[one.DeadLetter]; known {
				replays.Replays[i] = one
				continue
			}
			at[one.DeadLetter] = len(replays.Replays)
			replays.Replays = append(replays.Replays, one)
		}
		if some.NextCursor == "" || some.NextCursor == query.Get(contract.ParamCursor) {
			return a.printReplays(&replays)
		}
		query.Set(contract.ParamCursor, some.NextCursor)
	}
}

// printReplays reports what became of each, and fails where one could not be replayed.
func (a *app) printReplays(replays *contract.Replays) error {
	failed := 0
	for _, r := range replays.Replays {
		if r.Error != nil {
			failed++
		}
	}
	err := a.print(replays, func() string {
		if len(replays.Replays) == 0 {
			return "nothing to replay\n"
		}
		t := table{head: []string{"DEAD LETTER", "EXECUTION", "ERROR"}}
		for _, r := range replays.Replays {
			why := ""
			if r.Error != nil {
				why = visible(r.Error.Detail)
			}
			t.add(r.DeadLetter, firstOf(r.Execution, "-"), why)
		}
		return t.String()
	})
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d could not be replayed", failed, len(replays.Replays))
	}
	return err
}
