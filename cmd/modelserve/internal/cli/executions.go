package cli

import (
	"bytes"
	"context"
	"encoding/json"
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

func (a *app) executionsCommand() *cobra.Command {
	return group("executions", "Show, watch, cancel and replay executions of pipelines",
		a.executionsListCommand(), a.executionsGetCommand(), a.executionsWatchCommand(), a.executionsCancelCommand(),
		a.executionsReplayCommand(), a.executionsDeleteCommand())
}

func (a *app) executionsListCommand() *cobra.Command {
	var (
		pipeline, status string
		labels           []string
		limit            int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List executions, newest first",
		Example: `  modelserve executions list
  modelserve executions list --pipeline read-document --status failed
  modelserve executions list --label team=docs --limit 0 -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit: expected 1 or more, or 0 for all, got %d", limit)
			}
			query := url.Values{}
			if pipeline != "" {
				query.Set(contract.ParamPipeline, pipeline)
			}
			if status != "" {
				query.Set(contract.ParamStatus, status)
			}
			if err := addLabels(query, labels); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[contract.Execution](cmd.Context(), c, contract.ExecutionsPath, "executions", query, limit)
			if err != nil {
				return err
			}
			return a.print(contract.Executions{Executions: all}, func() string { return executionTable(all) })
		},
	}
	cmd.Flags().StringVar(&pipeline, "pipeline", "", "of this pipeline")
	cmd.Flags().StringVar(&status, "status", "", "queued, running, succeeded, failed or cancelled")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "with this label, `KEY=VALUE` (repeatable)")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

// addLabels adds KEY=VALUE labels to a query.
func addLabels(query url.Values, labels []string) error {
	for _, label := range labels {
		if key, _, ok := strings.Cut(label, "="); !ok || key == "" {
			return usagef("--label: expected KEY=VALUE, got %q", label)
		}
		query.Add(contract.ParamLabel, label)
	}
	return nil
}

func executionTable(all []contract.Execution) string {
	t := table{head: []string{"ID", "PIPELINE", "STATUS", "CREATED", "TIME", "LABELS", "ERROR"}}
	for i := range all {
		x := &all[i]
		why := ""
		if x.Error != nil {
			why = visible(x.Error.Detail)
		}
		t.add(x.ID, pipelineText(x.Pipeline, x.Version), string(x.Status), x.CreatedAt.UTC().Format(time.DateTime), took(x.StartedAt, x.FinishedAt), labelText(x.Labels), why)
	}
	return t.String()
}

// pipelineText is name@version; - of a call that is answered later.
func pipelineText(name *string, version int) string {
	if name == nil {
		return "-"
	}
	return *name + "@" + strconv.Itoa(version)
}

// took is how long something took; "" where it has not ended.
func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return shortTime(max(to.Sub(*from), 0).Nanoseconds())
}

func (a *app) executionsGetCommand() *cobra.Command {
	var onlyOutput bool
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show an execution: its steps, and what it answered",
		Example: `  modelserve executions get 01JD2M8Q4T
  modelserve executions get 01JD2M8Q4T --result > result.json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if onlyOutput {
				return c.stream(cmd.Context(), contract.PathOf(contract.ResultPath, args[0]), a.Out)
			}
			x, err := c.execution(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(x, func() string { return describeExecution(x) })
		},
	}
	cmd.Flags().BoolVar(&onlyOutput, "result", false, "only the output, whole, as it is stored")
	return cmd
}

func (c *client) execution(ctx context.Context, id string) (*contract.Execution, error) {
	var x contract.Execution
	if err := c.call(ctx, http.MethodGet, contract.PathOf(contract.ExecutionPath, id), nil, &x); err != nil {
		return nil, noExecution(err)
	}
	return &x, nil
}

// noExecution says where ids are to be found.
func noExecution(err error) error {
	if problem.CodeOf(err) == problem.NotFound {
		return fmt.Errorf("%w; `modelserve executions list` shows which there are", err)
	}
	return err
}

// describeExecution is an execution for people.
func describeExecution(x *contract.Execution) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, value)
		}
	}
	line("execution", x.ID)
	line("pipeline", pipelineText(x.Pipeline, x.Version))
	line("status", string(x.Status))
	line("created", x.CreatedAt.UTC().Format(time.DateTime))
	line("run at", timeOr(x.RunAt, ""))
	line("took", took(x.StartedAt, x.FinishedAt))
	if x.ReplayOf != "" {
		line("replay of", strings.TrimSuffix(x.ReplayOf+", from "+x.From, ", from "))
	}
	if len(x.Labels) > 0 {
		line("labels", labelText(x.Labels))
	}
	if x.Erased {
		line("erased", "yes")
	}
	b.WriteString("\n" + stepTable(x.Steps))
	if x.Error != nil {
		b.WriteString("\n" + problemText(x.Error) + "\n")
	}
	if out := outputText(x); out != "" {
		b.WriteString("\n" + out)
	}
	return b.String()
}

func stepTable(steps []contract.Step) string {
	t := table{head: []string{"STEP", "STATUS", "ATTEMPTS", "TIME", "MODEL", "ERROR"}}
	for _, s := range steps {
		why := ""
		if s.Error != nil {
			why = visible(s.Error.Detail)
		}
		t.add(s.Name, statusText(s), strconv.Itoa(s.Attempts), took(s.StartedAt, s.FinishedAt), modelText(s.Model), why)
	}
	return t.String()
}

// statusText is a step's status, with how far its items are.
func statusText(s contract.Step) string {
	if s.Items == nil {
		return string(s.Status)
	}
	text := fmt.Sprintf("%s %d/%d", s.Status, s.Items.Succeeded, s.Items.Total)
	if s.Items.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Items.Failed)
	}
	return text
}

// modelText is name@version alone.
func modelText(model string) string {
	name, _, _ := strings.Cut(model, ";")
	return visible(name)
}

// problemText is an error with its fields.
func problemText(p *contract.Failure) string {
	text := "error: " + visible(p.Detail) + " (" + string(p.Code) + ")"
	for _, f := range p.Errors {
		if !strings.Contains(p.Detail, f.Detail) {
			text += "\n  " + visible(f.Field) + ": " + visible(f.Detail)
		}
	}
	return text
}

// outputText is what an execution answered: the lines of text, where it has such, else
// its JSON.
func outputText(x *contract.Execution) string {
	if x.OutputRef != nil {
		return fmt.Sprintf("the output is large (%s): `modelserve executions get %s --result` prints it\n", size(x.OutputRef.Size), x.ID)
	}
	if len(x.Output) == 0 {
		return ""
	}
	var read struct {
		Lines []struct {
			Text *string `json:"text"`
		} `json:"lines"`
	}
	if json.Unmarshal(x.Output, &read) == nil && len(read.Lines) > 0 {
		text := ""
		for _, line := range read.Lines {
			if line.Text == nil {
				return indented(x.Output)
			}
			text += visible(*line.Text) + "\n"
		}
		return text
	}
	return indented(x.Output)
}

func indented(text []byte) string {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return string(text) + "\n"
	}
	return b.String() + "\n"
}

func (a *app) executionsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID…",
		Short: "Cancel executions: nothing further of them starts",
		Long: `Cancel executions, which is final at once. A step that runs is stopped where that
can be done, else its result is ignored. One that has ended stays as it is, and is
reported.`,
		Example: "  modelserve executions cancel 01JD2M8Q4T",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return a.each(ids, "cancelled", func(id string) error {
				var x contract.Execution
				if err := c.call(cmd.Context(), http.MethodPost, contract.PathOf(contract.CancelPath, id), nil, &x); err != nil {
					return noExecution(err)
				}
				if x.Status != contract.Cancelled {
					return fmt.Errorf("it had ended before: it %s", x.Status)
				}
				return nil
			})
		},
	}
}

func (a *app) executionsReplayCommand() *cobra.Command {
	var from string
	var version int
	var watch bool
	cmd := &cobra.Command{
		Use:   "replay ID",
		Short: "Run an execution again, whole or from a step on",
		Long: `Start a new execution with the input of one that has ended. --from begins at a step,
with the outputs before it as they were recorded. It is of the same version of the
pipeline unless --version names another.`,
		Example: `  modelserve executions replay 01JD2M8Q4T
  modelserve executions replay 01JD2M8Q4T --from recognize --watch`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			x, err := c.replay(cmd.Context(), args[0], from, version)
			if err != nil {
				return noExecution(err)
			}
			if watch {
				return a.watch(cmd.Context(), c, x.ID)
			}
			return a.print(x, func() string {
				return "started " + x.ID + "; `modelserve executions watch " + x.ID + "` follows it\n"
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the `step` to begin at (the first)")
	cmd.Flags().IntVar(&version, "version", 0, "the pipeline's version `N` (that of the execution)")
	cmd.Flags().BoolVar(&watch, "watch", false, "follow it to its end")
	return cmd
}

// replay starts an execution anew; "" and 0 are where it began, and its own version.
func (c *client) replay(ctx context.Context, id, from string, version int) (*contract.Execution, error) {
	query := url.Values{}
	if from != "" {
		query.Set(contract.ParamFrom, from)
	}
	if version < 0 {
		return nil, usagef("--version: expected a number from 1 on, got %d", version)
	}
	if version > 0 {
		query.Set(contract.ParamVersion, strconv.Itoa(version))
	}
	var x contract.Execution
	if err := c.call(ctx, http.MethodPost, withQuery(contract.PathOf(contract.ReplayPath, id), query), nil, &x); err != nil {
		return nil, err
	}
	return &x, nil
}

// withQuery is a path with its query, where there is one.
func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

func (a *app) executionsDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete ID…",
		Short: "Erase what executions were given and answered",
		Long: `Erase the inputs and outputs of executions that have ended. A stub of each stays: its
id, status and times.`,
		Example: "  modelserve executions delete 01JD2M8Q4T --yes",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := a.agreed(cmd.Context(), yes, "erase what "+strings.Join(ids, ", ")+" was given and answered"); err != nil {
				return err
			}
			return a.each(ids, "deleted", func(id string) error {
				err := c.call(cmd.Context(), http.MethodDelete, contract.PathOf(contract.ExecutionPath, id), nil, nil)
				if problem.CodeOf(err) == problem.Conflict {
					return fmt.Errorf("%w; `modelserve executions cancel %s` ends it", err, id)
				}
				return noExecution(err)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
