package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/pipelines/contract"
)

func (a *app) executionsWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch ID",
		Short: "Follow an execution to its end",
		Long: `Follow an execution to its end: on a terminal as a tree of its steps with their
times, elsewhere as a line for each event; with -o json as the events themselves, one
a line. Connections that break are made again, and nothing is missed. It exits 1 when
the execution fails or is cancelled.`,
		Example: `  modelserve executions watch 01JD2M8Q4T
  modelserve executions watch 01JD2M8Q4T -o json | jq .type`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.watch(cmd.Context(), c, args[0])
		},
	}
}

// watch follows an execution to its end, and prints what it answered.
func (a *app) watch(ctx context.Context, c *client, id string) error {
	x, err := c.execution(ctx, id)
	if err != nil {
		return err
	}
	if a.output == "json" {
		err = c.follow(ctx, id, a.eventAsJSON)
	} else {
		err = a.followed(ctx, c, x, a.Out, a.OutTerminal)
	}
	if err != nil {
		return err
	}
	if x, err = c.execution(ctx, id); err != nil {
		return err
	}
	switch a.output {
	case "table":
		if _, err := fmt.Fprint(a.Out, outputText(x)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	case "yaml":
		if err := a.print(x, nil); err != nil {
			return err
		}
	}
	return unsuccessful(x)
}

// unsuccessful is the error of an execution that did not succeed.
func unsuccessful(x *contract.Execution) error {
	switch {
	case x.Status == contract.Succeeded:
		return nil
	case x.Error != nil:
		return fmt.Errorf("%s %s: %s; `modelserve executions get %s` shows its steps", x.ID, x.Status, strings.TrimPrefix(problemText(x.Error), "error: "), x.ID)
	default:
		return fmt.Errorf("%s %s", x.ID, x.Status)
	}
}

// followed shows an execution on a writer until it ends.
func (a *app) followed(ctx context.Context, c *client, x *contract.Execution, to io.Writer, terminal bool) error {
	if !terminal {
		return c.follow(ctx, x.ID, func(e contract.Event) { _, _ = fmt.Fprintln(to, eventLine(&e)) })
	}
	tree := newTree(x)
	live := startLive(to, tree.draw)
	err := c.follow(ctx, x.ID, tree.seen)
	if err == nil {
		if ended, getErr := c.execution(ctx, x.ID); getErr == nil { // it has the times that the functions stamped
			tree.replace(ended)
		}
	}
	live.stop()
	return err
}

// eventLine is an event as a line: when, which step, what became of it.
func eventLine(e *contract.Event) string {
	what := "execution"
	if e.Data.Step != "" {
		what = e.Data.Step
		if e.Data.Item != nil {
			what += fmt.Sprintf("[%d]", *e.Data.Item)
		}
	}
	line := e.Time.UTC().Format("15:04:05.000") + "  " + what + "  " + eventVerb(e.Type)
	if e.Data.Attempt > 1 {
		line += fmt.Sprintf("  attempt %d", e.Data.Attempt)
	}
	if m := modelText(e.Data.Model); m != "" {
		line += "  " + m
	}
	if e.Data.Error != nil {
		line += "  " + visible(e.Data.Error.Detail)
	}
	return line
}

// eventVerb is what happened: the part of the type before its version.
func eventVerb(kind string) string {
	parts := strings.Split(kind, ".")
	if len(parts) < 2 {
		return visible(kind)
	}
	return visible(parts[len(parts)-2])
}

// tree is an execution and its steps, as the events have them.
type tree struct {
	mu    sync.Mutex
	x     contract.Execution
	index map[string]int // of steps by name
}

func newTree(x *contract.Execution) *tree {
	t := &tree{}
	t.replace(x)
	return t
}

func (t *tree) replace(x *contract.Execution) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.x, t.index = *x, map[string]int{}
	t.x.Steps = append([]contract.Step(nil), x.Steps...)
	for i, s := range t.x.Steps {
		t.index[s.Name] = i
	}
}

// seen takes an event in. Events of before what GET showed change nothing.
func (t *tree) seen(e contract.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := e.Time
	i, known := t.index[e.Data.Step]
	switch {
	case e.Data.Step == "" && !t.x.Status.Ended():
		t.x.Status = e.Data.Status
		begin(&t.x.StartedAt, &t.x.FinishedAt, e.Data.Status, at)
		t.x.Error = e.Data.Error
	case known && e.Data.Item == nil && !t.x.Steps[i].Status.Ended():
		s := &t.x.Steps[i]
		s.Status, s.Error = e.Data.Status, e.Data.Error
		s.Attempts = max(s.Attempts, e.Data.Attempt)
		s.Model = firstOf(e.Data.Model, s.Model)
		begin(&s.StartedAt, &s.FinishedAt, e.Data.Status, at)
	}
}

// begin notes when something began or ended, where that is not known.
func begin(started, finished **time.Time, status contract.Status, at time.Time) {
	if *started == nil && status == contract.Running {
		*started = &at
	}
	if *finished == nil && status.Ended() {
		*finished = &at
	}
}

// draw is the tree as lines, of now.
func (t *tree) draw(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	width := 0
	for _, s := range t.x.Steps {
		width = max(width, len(s.Name))
	}
	lines := []string{strings.TrimRight(fmt.Sprintf("%s %s  %s  %s", mark(t.x.Status), pipelineText(t.x.Pipeline, t.x.Version), t.x.ID,
		elapsed(t.x.StartedAt, t.x.FinishedAt, now)), " ")}
	for i, s := range t.x.Steps {
		branch := "├─"
		if i == len(t.x.Steps)-1 {
			branch = "└─"
		}
		line := fmt.Sprintf("%s %s %-*s  %-9s %s", branch, mark(s.Status), width, s.Name, statusText(s), elapsed(s.StartedAt, s.FinishedAt, now))
		if s.Attempts > 1 {
			line += fmt.Sprintf("  attempt %d", s.Attempts)
		}
		if s.Error != nil {
			line += "  " + visible(s.Error.Detail)
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

func mark(s contract.Status) string {
	switch s {
	case contract.Succeeded:
		return "✓"
	case contract.Failed, contract.Cancelled:
		return "✗"
	case contract.Running:
		return "●"
	case contract.Skipped:
		return "-"
	default:
		return "○"
	}
}

// elapsed is how long something took, or has been going on.
func elapsed(from, to *time.Time, now time.Time) string {
	if from != nil && to == nil {
		return shortTime(max(now.Sub(*from), 0).Round(100 * time.Millisecond).Nanoseconds())
	}
	return took(from, to)
}

// eventAsJSON prints an event as a line.
func (a *app) eventAsJSON(e contract.Event) {
	if text, err := json.Marshal(e); err == nil { // texts and numbers only
		_, _ = fmt.Fprintf(a.Out, "%s\n", text)
	}
}
