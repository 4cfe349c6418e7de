// Package cli is the modelserve command: what it takes, what it prints, and
// how it exits. The work is done elsewhere: models are published by
// runtime/artifact, the local platform runs in local, keys live
// behind the gateway.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/problem"
)

// The exit codes: it did what was asked, it failed, it was asked wrongly.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// System is the process's own environment.
func System() Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // it was deleted; every use of it will fail and name it
	}
	return Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: isTerminal(os.Stdin), OutTerminal: isTerminal(os.Stdout), ErrTerminal: isTerminal(os.Stderr),
		Vars: env.Environ(),
		Dir:  dir,
	}
}

// Env is what a run of the command may touch of its process.
type Env struct {
	In       io.Reader
	Out, Err io.Writer

	InTerminal  bool // In is a person's
	OutTerminal bool // Out is a person's: what it shows may be drawn over
	ErrTerminal bool // Err is a person's: progress may overwrite its line

	Vars map[string]string // its variables
	Dir  string            // the working directory
}

// isTerminal reports whether f is a character device, which a pipe or a file
// is not. The null device is one, too; it answers no question.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// suggestWithin is how many typing errors a suggestion forgives.
const suggestWithin = 2

// usageError is a command line that asks wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// Run runs one command line and returns the exit code.
func Run(ctx context.Context, args []string, process Env) int {
	vars, err := readVariables(process.Vars)
	if err != nil {
		_, _ = fmt.Fprintf(process.Err, "modelserve: %s\n", err)
		return exitUsage
	}
	a := &app{Env: process, vars: vars}
	root := a.root()
	root.SetArgs(args)
	cmd, err := within(ctx, func() (*cobra.Command, error) { return root.ExecuteContextC(ctx) })
	if err == nil {
		return exitOK
	}
	var usage *usageError
	if errors.As(err, &usage) || isUnknownCommand(err) {
		_, _ = fmt.Fprintf(process.Err, "modelserve: %s\nSee `%s --help`.\n", err, cmd.CommandPath())
		return exitUsage
	}
	_, _ = fmt.Fprintf(process.Err, "modelserve: %s\n", explain(err))
	return exitFailed
}

// endTime is how long a command may take to end after the first signal; the local
// platform takes half of it at most.
const endTime = time.Minute

// within runs a command, and leaves it behind where it has not ended endTime
// after ctx: the process ends then.
func within(ctx context.Context, run func() (*cobra.Command, error)) (cmd *cobra.Command, err error) {
	ended := make(chan struct{})
	var ran *cobra.Command
	var fault error
	go func() { // ends with the process where it does not end before
		ran, fault = run()
		close(ended)
	}()
	select {
	case <-ended:
		return ran, fault
	case <-ctx.Done():
	}
	select {
	case <-ended:
		return ran, fault
	case <-time.After(endTime):
		return nil, fmt.Errorf("it did not end within %v of being interrupted, and was given up", endTime)
	}
}

// isUnknownCommand recognises the one usage error that cobra makes by itself past
// the hooks we give it.
func isUnknownCommand(err error) bool { return strings.HasPrefix(err.Error(), "unknown command ") }

// explain adds each field of a problem that its sentence does not name.
func explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	text := strings.TrimSpace(err.Error())
	var p *problem.Error
	if errors.As(err, &p) {
		for _, f := range p.Fields {
			if !strings.Contains(text, f.Detail) {
				text += fmt.Sprintf("\n  %s: %s", f.Field, f.Detail)
			}
		}
	}
	return text
}

// app is one run of the command: its environment and global flags.
type app struct {
	Env

	vars variables

	server, key, output, data string
}

// Command is the whole tree of commands, for documentation: it is not to be run.
func Command() *cobra.Command { return new(app).root() }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "modelserve",
		Short: "Serve models as functions that cost nothing while nobody calls them",
		Long: `modelserve publishes models, sets which of their versions answers (aliases and
splits), deploys them as functions, runs pipelines of functions, manages keys, and
runs the whole platform on this machine.

It finds the platform by --server and --key or MODELSERVE_SERVER and
MODELSERVE_KEY, else by the folder that ` + "`modelserve dev`" + ` keeps: --data or
MODELSERVE_DATA, else .modelserve/ here or above. MODELSERVE_S3_* name another store of models.`,
		Example: `  modelserve dev                              # the platform, here
  modelserve models push churn churn.onnx     # publish a model; prints a curl line to call it
  modelserve deploy churn                     # give it a service of its own
  modelserve pipelines run read-document scan.png
  modelserve keys create ci --scope infer:churn`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrUnknown,

		SuggestionsMinimumDistance: suggestWithin,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch a.output {
			case "table", "json", "yaml":
				return nil
			}
			return usagef("--output: expected table, json or yaml, got %q", a.output)
		},
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "the platform's `URL` (MODELSERVE_SERVER, else .modelserve/platform.json)")
	flags.StringVar(&a.key, "key", "", "the API `key` (MODELSERVE_KEY, else .modelserve/key)")
	flags.StringVar(&a.data, "data", "", "the `folder` that a local platform keeps (MODELSERVE_DATA, else .modelserve here or above)")
	flags.StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	// A fixed list of values: an error here is one in this line.
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))

	root.AddCommand(a.devCommand(), a.modelsCommand(), a.deployCommand(), a.undeployCommand(), a.functionsCommand(),
		a.keysCommand(), a.rolesCommand(), a.grantsCommand(), a.accessCommand(), a.auditCommand(), a.usageCommand(), a.gatewayCommand(), a.loginCommand(),
		a.pipelinesCommand(), a.executionsCommand(), a.deadLettersCommand(), a.schedulesCommand(),
		a.logoutCommand(), a.versionCommand())
	alignGenerated(root)
	return root
}

// alignGenerated holds the commands that cobra adds to what ours do: a word
// that they do not know is a usage error, and each has an example.
func alignGenerated(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Example = "  modelserve help models push"
			cmd.Run = nil
			cmd.RunE = func(_ *cobra.Command, words []string) error {
				about, rest, err := root.Find(words)
				if err != nil || len(rest) > 0 {
					return usagef("there is no command %q to help with", strings.Join(words, " "))
				}
				return about.Help()
			}
		case "completion":
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, helpOrUnknown
			for _, shell := range cmd.Commands() {
				shell.Example = "  source <(modelserve completion " + shell.Name() + ")"
			}
		}
	}
}

// helpOrUnknown is the RunE of a command that is only a group of others.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	message := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		message += fmt.Sprintf("; did you mean %q?", near[0])
	}
	return usagef("%s", message)
}

// group makes a command that is only a group of others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: helpOrUnknown,
		SuggestionsMinimumDistance: suggestWithin,
	}
	g.AddCommand(commands...)
	return g
}

// args makes an argument check whose failure is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}
