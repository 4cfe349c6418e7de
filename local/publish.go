package local

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/modelserveai/modelserve/local/process"
)

// publish puts the shipped models into the store when they are not there. It
// runs this same program as a child: publishing loads ONNX Runtime, which a
// process that idles should not hold.
func (p *platform) publish(ctx context.Context) {
	defer close(p.published)
	if p.options.Overlay == "" {
		return // nor are the shipped functions there
	}
	if err := p.publishShipped(ctx); err != nil && ctx.Err() == nil {
		p.screen.Problem(fmt.Errorf("the shipped models are not published, so their functions cannot start: %w", err))
	}
}

func (p *platform) publishShipped(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	child, err := p.spawner.Start(process.Command{
		Path: self,
		Args: []string{"models", "publish-shipped", "--deps", p.options.Deps},
		Env:  append(append(inherited(os.Environ()), p.given()...), "MODELSERVE_SIGNING_KEY_FILE="+p.state.SigningKey),
		Line: func(line []byte) { p.screen.Line("models", line) },
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	select {
	case <-child.Done():
		return child.Err()
	case <-ctx.Done():
		child.Stop(time.Second)
		return ctx.Err()
	}
}
