package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/internal/regular"
)

func (a *app) gatewayCommand() *cobra.Command {
	return group("gateway", "Check the gateway's file, and make what it is configured with",
		a.gatewayCheckCommand(), a.hashKeyCommand())
}

// maxGatewayFile bounds a file that is read to check it, in bytes.
const maxGatewayFile = 2 << 20

// checked is what came of a check.
type checked struct {
	Good   bool                `json:"good"`
	Faults []gatewayfile.Fault `json:"faults"`
}

func (a *app) gatewayCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Report everything that is wrong with a gateway's file",
		Long: `Report everything that is wrong with a gateway's file (gateway.yaml), by line and
path, as a gateway would that reads it; of more than 20 faults, the first. A file that
does not end in a newline may be half written, and is a bad one. To change the file of
a gateway, check another one beside it and rename that. Exit status 1 means that
something is wrong.`,
		Example: `  modelserve gateway check .modelserve/gateway.yaml`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := regular.Read(args[0], maxGatewayFile)
			if err != nil {
				return fmt.Errorf("read %s: %w", args[0], err)
			}
			_, err = gatewayfile.Parse(text)
			var faults gatewayfile.Faults
			if err != nil && !errors.As(err, &faults) {
				return err
			}
			result := checked{Good: err == nil, Faults: []gatewayfile.Fault(faults)}
			if result.Faults == nil {
				result.Faults = []gatewayfile.Fault{}
			}
			printed := a.print(result, func() string {
				if result.Good {
					return args[0] + " is good\n"
				}
				text := ""
				for _, fault := range faults {
					text += args[0] + ": " + fault.String() + "\n"
				}
				return text
			})
			if printed != nil || result.Good {
				return printed
			}
			return fmt.Errorf("%s is a bad file", args[0])
		},
	}
}

func (a *app) hashKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash-key",
		Short: "Make a key that the secrets of API keys are hashed with",
		Long: `Make a key that the secrets of API keys are hashed with, for MODELSERVE_HASH_KEYS of
the gateways of one database. It is a secret. To replace one, add the new one behind
it at all gateways, then put it first. A key is hashed anew when it is used. Of keys
that are hashed with one it does not have a gateway logs how many there are, and
answers that they are not known.`,
		Example: `  modelserve gateway hash-key`,
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			key := auth.NewHashKey()
			return a.print(map[string]string{"hash_key": key.String()}, func() string { return key.String() + "\n" })
		},
	}
}
