package function

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// TestSourceFollowsSignedPoliciesOnly holds that the pool gets what the key
// signed, and learns of each change.
func TestSourceFollowsSignedPoliciesOnly(t *testing.T) {
	t.Parallel()
	environment := storage(t)
	keys := t.TempDir()
	signer, err := sign.CreateKeys(filepath.Join(keys, "key"), filepath.Join(keys, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	environment["MODELSERVE_PUBLIC_KEY_FILE"] = filepath.Join(keys, "pub")
	var cfg config
	if err := env.ParseFrom(&cfg, environment); err != nil {
		t.Fatal(err)
	}
	logged := &log{}
	src, err := newSource(t.Context(), &cfg, &budget{}, &telemetry.Telemetry{Registry: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, environment)
	before, err := src.Generation(t.Context(), "")
	if err != nil || before == "" {
		t.Fatalf("%q, %v", before, err)
	}
	stable := func(p *model.Policy) error {
		p.Aliases = map[string]int{model.Stable: 1}
		return nil
	}
	wants := func(aliases int) {
		t.Helper()
		if p, err := src.Policy(t.Context(), "double"); err != nil || len(p.Aliases) != aliases {
			t.Errorf("%+v, %v, want %d aliases", p, err, aliases)
		}
	}
	if _, err := src.store.ChangePolicy(t.Context(), "double", artifact.Changing{}, stable); err != nil {
		t.Fatal(err)
	}
	wants(0)
	if logged.String() == "" {
		t.Error("the log has nothing of an unsigned policy")
	}
	if _, err := src.store.ChangePolicy(t.Context(), "double", artifact.Changing{Signer: signer, Afresh: true}, stable); err != nil {
		t.Fatal(err)
	}
	wants(1)
	if now, err := src.Generation(t.Context(), before); err != nil || now == before {
		t.Errorf("%q again, %v", now, err)
	}
}
