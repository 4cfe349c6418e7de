package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/cli"
)

func cliPage() []byte {
	root := cli.Command()
	p := newPage("The command line", "`modelserve` exits with 0 when it did what was asked, 1 when that failed and 2 when it was asked wrongly. What was asked for goes to standard output, for programs with `-o json` or `-o yaml`; notes, progress and faults go to standard error.")
	p.printf("\n%s\n\nEvery command has these flags:\n\n```\n%s```\n", strings.TrimSpace(root.Long), root.PersistentFlags().FlagUsages())
	commands(p, root)
	return p.bytes()
}

// commands writes every command below a group, in cobra's order, which is the
// alphabet's. Those that cobra makes itself are in its own words and left out.
func commands(p *page, group *cobra.Command) {
	for _, cmd := range group.Commands() {
		switch {
		case !cmd.IsAvailableCommand() || cmd.Name() == "help":
			continue
		case cmd.Name() == "completion":
			p.printf("\n## %s\n\n%s: `source <(modelserve completion bash)`, `zsh`, `fish` or `powershell`.\n", cmd.CommandPath(), strings.TrimSuffix(cmd.Short, "."))
			continue
		}
		p.printf("\n## %s\n\n", cmd.CommandPath())
		about := cmd.Long
		if about == "" {
			about = sentence(cmd.Short)
		}
		p.printf("%s\n", strings.TrimSpace(about))
		if cmd.HasSubCommands() {
			commands(p, cmd)
			continue
		}
		p.printf("\n```\n%s\n", cmd.UseLine())
		if flags := cmd.LocalNonPersistentFlags().FlagUsages(); flags != "" {
			p.printf("\n%s", flags)
		}
		p.printf("```\n\n```sh\n%s\n```\n", unindented(cmd.Example))
	}
}

// unindented is an example without the two spaces that help has before it.
func unindented(text string) string {
	return strings.TrimSpace(strings.ReplaceAll("\n"+text, "\n  ", "\n"))
}
