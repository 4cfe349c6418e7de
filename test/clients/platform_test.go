package clients

import (
	"testing"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// platform is a running `modelserve dev`.
type platform struct{ *platformtest.Platform }

// start runs the platform until the test ends.
func start(t *testing.T) *platform {
	t.Helper()
	return &platform{platformtest.Start(t, platformtest.BuildCLI(t), t.TempDir())}
}

// push publishes a model file.
func (p *platform) push(t *testing.T, name, path string) {
	t.Helper()
	if out, err := p.Run(t, "models", "push", name, path); err != nil {
		t.Fatalf("push %s: %v\n%s", name, err, out)
	}
}
