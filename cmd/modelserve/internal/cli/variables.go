package cli

import (
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/artifact"
)

// The variables that messages and printed shell lines name.
const (
	keyVariable        = "MODELSERVE_KEY"
	signingKeyVariable = "MODELSERVE_SIGNING_KEY_FILE"
)

// variables are what the command reads of its environment, the store's aside:
// flags go before them, and the local platform's files come after.
type variables struct {
	Server     string `env:"MODELSERVE_SERVER"`           // the platform's URL, where --server names none
	Key        string `env:"MODELSERVE_KEY"`              // the API key, where --key names none
	Data       string `env:"MODELSERVE_DATA"`             // the folder that a local platform keeps, where --data names none
	SigningKey string `env:"MODELSERVE_SIGNING_KEY_FILE"` // the private key (PEM) that published models and policies are signed with, else the local platform's
	PublicKey  string `env:"MODELSERVE_PUBLIC_KEY_FILE"`  // the public keys (PEM) that published models must be signed with, else the local platform's
	Config     string `env:"XDG_CONFIG_HOME"`             // the user's configuration, where `modelserve login` keeps tokens
	Home       string `env:"HOME"`                        // the user's folder, whose .config it is where XDG_CONFIG_HOME is not set
	Gateway    string `env:"GATEWAY_URL"`                 // where a cluster's gateway is, as `make cluster` sets it; MODELSERVE_SERVER goes before it
}

// Environment is all that the command reads of its environment, as pointers to
// structs that internal/env knows: for documentation.
func Environment() []any { return []any{&variables{}, &artifact.Config{}} }

// readVariables reads those of env. All are texts, so nothing can be wrong.
func readVariables(environment map[string]string) (v variables, err error) {
	return v, env.ParseFrom(&v, environment)
}

// storeVariables reads MODELSERVE_S3_*; given reports whether any is set.
func (a *app) storeVariables() (cfg artifact.Config, given bool, err error) {
	environment := map[string]string{}
	for _, v := range env.Variables(&cfg) {
		if value := a.Vars[v.Name]; value != "" {
			environment[v.Name] = value
		}
	}
	if len(environment) == 0 {
		return cfg, false, nil
	}
	if err := env.ParseFrom(&cfg, environment); err != nil {
		return cfg, true, &usageError{err}
	}
	return cfg, true, nil
}
