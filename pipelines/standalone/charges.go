package standalone

import (
	"context"
	"errors"

	gatewaypostgres "github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/pipelines/meter"
	"github.com/modelserveai/modelserve/pipelines/receive"
)

// charges are what steps took, in the gateway's usage.
type charges struct {
	store    *gatewaypostgres.Store
	recorder *usage.Recorder
}

// newCharges makes charges; nil where the configuration has no database for them. That
// database need not answer: what is charged waits in memory meanwhile.
func newCharges(ctx context.Context, cfg config, tel *telemetry.Telemetry) (*charges, error) {
	if cfg.Usage == "" {
		tel.Logger.WarnContext(ctx, "steps of pipelines are not charged: set MODELSERVE_GATEWAY_DB to the gateway's database, where usage is")
		return nil, nil //nolint:nilnil // nobody is charged
	}
	store, err := gatewaypostgres.Beside(ctx, cfg.Usage, "modelserve-pipelines")
	if err != nil {
		return nil, err
	}
	recorder, err := usage.NewRecorder(store, 0, tel.Registry, tel.Logger) // the gateway removes what is old
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &charges{store, recorder}, nil
}

// charger charges; nil charges nobody.
func (c *charges) charger() receive.Charges {
	if c == nil {
		return nil
	}
	return meter.New(c.recorder, nil)
}

// run stores what is charged until ctx ends, and then what is left.
func (c *charges) run(ctx context.Context) {
	if c != nil {
		c.recorder.Run(ctx)
	}
}

func (c *charges) close() error {
	if c == nil {
		return nil
	}
	return c.store.Close()
}
