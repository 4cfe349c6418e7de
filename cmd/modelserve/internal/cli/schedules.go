package cli

import (
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

func (a *app) schedulesCommand() *cobra.Command {
	return group("schedules", "Start pipelines by the clock",
		a.schedulesCreateCommand(), a.schedulesListCommand(), a.schedulesShowCommand(),
		a.scheduleChangeCommand("pause", contract.SchedulePausePath, "Pause a schedule: times that come meanwhile are left out", "paused"),
		a.scheduleChangeCommand("resume", contract.ScheduleResumePath, "Have a schedule go on, with the times that come from now on", "goes on"),
		a.schedulesRunCommand(), a.schedulesDeleteCommand())
}

func (a *app) schedulesCreateCommand() *cobra.Command {
	var (
		s            contract.Schedule
		input        string
		jitter       time.Duration
		version      int
		cron, missed string
	)
	cmd := &cobra.Command{
		Use:   "create NAME --pipeline NAME --cron LINE",
		Short: "Make a schedule",
		Long: `Make a schedule: the pipeline starts at the times of a cron line of five fields
(minute, hour, day of month, month, day of week), once for each. A time that
daylight saving skips is at the end of the gap, one that comes twice is at its first.`,
		Example: `  modelserve schedules create nightly --pipeline triage --cron "0 2 * * *" --time-zone Europe/Berlin --input '{"ref": "s3://models/inputs/default/today.png"}'
  modelserve schedules create often --pipeline churn-batch --cron "*/15 * * * *" --jitter 30s --missed one`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			switch {
			case s.Pipeline == "" || cron == "":
				return usagef("expected --pipeline and --cron")
			case version < 0:
				return usagef("--version: expected a number from 1 on, got %d", version)
			}
			body := map[string]any{"name": arguments[0], "pipeline": s.Pipeline, "cron": cron, "missed": missed, "jitter": jitter.String(), "paused": s.Paused}
			if version > 0 {
				body["version"] = version
			}
			if s.TimeZone != "" {
				body["time_zone"] = s.TimeZone
			}
			if input != "" {
				given, err := a.given(input)
				if err != nil {
					return err
				}
				if given.contentType != "application/json" {
					return usagef("--input: expected JSON: what is none has to be stored first, as inputs/TENANT/…, and named by its ref")
				}
				body["input"] = json.RawMessage(given.body)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, contract.SchedulesPath, body, &s); err != nil {
				return err
			}
			return a.print(s, func() string { return describeSchedule(&s) })
		},
	}
	cmd.Flags().StringVar(&s.Pipeline, "pipeline", "", "the `NAME` of the pipeline")
	cmd.Flags().IntVar(&version, "version", 0, "its version `N` (the default one, when it starts)")
	cmd.Flags().StringVar(&cron, "cron", "", "a cron `LINE` of five fields")
	cmd.Flags().StringVar(&s.TimeZone, "time-zone", "", "of the line, such as Europe/Berlin (UTC)")
	cmd.Flags().StringVar(&input, "input", "", "a `FILE` of JSON, or JSON: the input of each execution (null)")
	cmd.Flags().StringVar(&missed, "missed", "skip", "what becomes of times at which nothing could be started: skip, one (the last of them runs late) or all")
	cmd.Flags().DurationVar(&jitter, "jitter", 0, "each starts up to so much later")
	cmd.Flags().BoolVar(&s.Paused, "paused", false, "make it paused")
	return cmd
}

func (a *app) schedulesListCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List schedules, newest first",
		Example: "  modelserve schedules list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit: expected 1 or more, or 0 for all, got %d", limit)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := pages[contract.Schedule](cmd.Context(), c, contract.SchedulesPath, "schedules", url.Values{}, limit)
			if err != nil {
				return err
			}
			return a.print(contract.Schedules{Schedules: all}, func() string { return scheduleTable(all) })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

func scheduleTable(all []contract.Schedule) string {
	t := table{head: []string{"NAME", "PIPELINE", "CRON", "TIME ZONE", "NEXT", "LAST", "EXECUTION", "ERROR"}}
	for i := range all {
		s := &all[i]
		t.add(s.Name, scheduledPipeline(s), s.Cron, s.TimeZone, nextText(s), timeText(s.LastAt), firstOf(s.LastExecution, "-"), visible(s.LastError))
	}
	return t.String()
}

func scheduledPipeline(s *contract.Schedule) string {
	if s.Version == 0 {
		return s.Pipeline
	}
	return s.Pipeline + "@" + strconv.Itoa(s.Version)
}

func nextText(s *contract.Schedule) string {
	if s.Paused {
		return "paused"
	}
	return timeText(s.NextAt)
}

// timeText is a time in UTC; - is none.
func timeText(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.UTC().Format(time.DateTime)
}

func describeSchedule(s *contract.Schedule) string {
	var b strings.Builder
	for _, line := range [][2]string{
		{"schedule", s.Name},
		{"pipeline", scheduledPipeline(s)},
		{"cron", s.Cron + " " + s.TimeZone},
		{"missed", s.Missed},
		{"jitter", s.Jitter},
		{"next", nextText(s)},
		{"last", timeText(s.LastAt)},
		{"execution", firstOf(s.LastExecution, "-")},
	} {
		fmt.Fprintf(&b, "%-10s %s\n", line[0], line[1])
	}
	if s.LastError != "" {
		fmt.Fprintf(&b, "%-10s %s\n", "error", visible(s.LastError))
	}
	return b.String()
}

func (a *app) schedulesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a schedule: when it starts next, and what it started last",
		Example: "  modelserve schedules show nightly",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			var s contract.Schedule
			if err := a.ofSchedule(cmd.Context(), http.MethodGet, contract.SchedulePath, arguments[0], &s); err != nil {
				return err
			}
			return a.print(s, func() string { return describeSchedule(&s) })
		},
	}
}

// ofSchedule calls a URL of a schedule.
func (a *app) ofSchedule(ctx context.Context, method, path, name string, out any) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	err = c.call(ctx, method, contract.PathOf(path, name), nil, out)
	if problem.CodeOf(err) == problem.NotFound {
		return fmt.Errorf("%w; `modelserve schedules list` shows which there are", err)
	}
	return err
}

func (a *app) scheduleChangeCommand(verb, path, short, became string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  modelserve schedules " + verb + " nightly",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			var s contract.Schedule
			if err := a.ofSchedule(cmd.Context(), http.MethodPost, path, arguments[0], &s); err != nil {
				return err
			}
			return a.print(s, func() string {
				if s.NextAt != nil {
					return fmt.Sprintf("%s %s: next at %s\n", s.Name, became, timeText(s.NextAt))
				}
				return s.Name + " " + became + "\n"
			})
		},
	}
}

func (a *app) schedulesRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "run NAME",
		Short:   "Start an execution of a schedule now; its times stay as they are",
		Example: "  modelserve schedules run nightly",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			var x contract.Execution
			if err := a.ofSchedule(cmd.Context(), http.MethodPost, contract.ScheduleRunPath, arguments[0], &x); err != nil {
				return err
			}
			return a.print(x, func() string { return x.ID + "\n" })
		},
	}
}

func (a *app) schedulesDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME…",
		Short:   "Delete schedules; what they started goes on",
		Example: "  modelserve schedules delete nightly",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.each(names, "deleted", func(name string) error {
				return a.ofSchedule(cmd.Context(), http.MethodDelete, contract.SchedulePath, name, nil)
			})
		},
	}
}
