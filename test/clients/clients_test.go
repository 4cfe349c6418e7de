// Package clients uses the local platform through clients that others wrote:
// it starts the platform once, publishes small models, and runs a program for
// each client, in its own language, against it. README.md says how to run one
// of them and how to add one.
package clients

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/modelserveai/modelserve/test/platformtest"
)

var all = flag.Bool("all", false, "the clients that take long to install, too: Java's and MLServer's")

// clientTimeout is what one client's program may take, on a busy machine.
const clientTimeout = 10 * time.Minute

// client is a client of somebody else's and what uses it.
type client struct {
	slow bool // to install: it runs with -all alone
	use  func(*testing.T, *platform)
}

func clients() map[string]client {
	const node, python = "test/clients/node", "test/clients/python/"
	// The machine's Node, or the one that setup.sh has fetched.
	const runtime = "../../../.deps/clients/node"
	return map[string]client{
		"kserve":             {use: program(python+"v2", interpreter("v2"), "test_kserve.py")},
		"tritonclient":       {use: program(python+"v2", interpreter("v2"), "test_triton.py")},
		"httpx and requests": {use: program(python+"v2", interpreter("v2"), "test_http.py")},
		"CloudEvents Python": {use: program(python+"events", interpreter("events"), "test_events.py")},
		"MLServer codecs":    {use: program(python+"mlserver", interpreter("mlserver"), "test_codecs.py"), slow: true},
		"undici":             {use: program(node, runtime, "undici.mjs")},
		"grpc-js":            {use: program(node, runtime, "grpc.mjs")},
		"CloudEvents Node":   {use: program(node, runtime, "events.mjs")},
		"CloudEvents Go":     {use: cloudEvents},
		"grpcurl":            {use: grpcurl},
		"docs/models.md":     {use: callsOfThePage},
		"Java": {
			use:  program(".deps/clients/java", "java", "-cp", "classes:dependency/*", "dev.modelserve.clients.Main"),
			slow: true,
		},
	}
}

// interpreter is the Python of an environment that setup.sh has made, by the
// folder of its programs.
func interpreter(environment string) string {
	return "../../../../.deps/clients/python/" + environment + "/bin/python"
}

func TestClientsOfOthers(t *testing.T) {
	p := start(t)
	publish(t, p)
	t.Run("client", func(t *testing.T) {
		for name, c := range clients() {
			if c.slow && !*all {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.use(t, p)
			})
		}
	})
	// Which revokes keys and unloads models, so after all others.
	t.Run("schemathesis", func(t *testing.T) {
		program("test/clients/python/document", interpreter("document"), "test_document.py")(t, p)
	})
}

// moduleVersion is the version of a Go module that a go.mod names.
func moduleVersion(t *testing.T, file, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(platformtest.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.ParseLax(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, required := range parsed.Require {
		if required.Mod.Path == path {
			return required.Mod.Version
		}
	}
	t.Fatalf("%s names no %s", file, path)
	return ""
}

// program runs a program from a folder below the root: it has passed if it ends
// with 0. What it prints, the versions of its libraries first, is in the log.
func program(folder, path string, args ...string) func(*testing.T, *platform) {
	return func(t *testing.T, p *platform) {
		ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Dir = filepath.Join(platformtest.Root(t), folder)
		// No proxy of the machine's is between the clients and the platform.
		cmd.Env = append(os.Environ(), "CLIENTS_ADDRESS="+p.Address, "CLIENTS_KEY="+p.Key, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*", "no_proxy=*")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v (is what it needs there? test/clients/setup.sh brings it)", filepath.Base(path), err)
		}
		t.Logf("%s", out.String())
	}
}
