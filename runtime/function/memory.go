package function

import (
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/modelserveai/modelserve/internal/cgroup"
)

// budget is how the memory of a process is shared out, in bytes. Its parts, and an
// eighth for Go itself, the native library and connections, are what there is.
type budget struct {
	models int64 // versions in memory, and what runs compute
	calls  int64 // what requests hold; a tenant has half of it at most
	heap   int64 // that Go's collector keeps to; 0 where nothing else would be killed
	why    string

	maxBody, maxOutput, maxPixels int64 // the largest that fit, of what is configured
}

// share follows from what the process may have: by its control group, or by what the
// platform that started it sets, where the operator decides nothing else. root is the
// system's file system. On a machine without such a limit, which is not this
// process's alone, models may have half of it, and requests an eighth. A function whose
// models are fixed needs no room for others: its models and requests have as much each.
func (c *config) share(root fs.FS) (b budget, err error) {
	machine, err := cgroup.Machine(root)
	if err != nil {
		return c.fixed(), err
	}
	limit := cgroup.Limit(root)
	if n := int64(c.MemoryLimit); n > 0 {
		limit = min(limit, n)
	}
	models := limit / 2
	if len(c.refs) > 0 {
		models = limit / 16 * 7
	}
	if limit < machine {
		b = c.parts(limit, models, limit/8*7)
		b.heap = b.calls + limit/16
		b.why = fmt.Sprintf("the limit of %d bytes", limit)
	} else {
		b = c.parts(machine, machine/2, machine/8*5)
		b.why = fmt.Sprintf("the machine's %d bytes", machine)
	}
	return c.fit(b), nil
}

// parts are those of most bytes: so many for models, and the rest for requests, unless
// either is configured.
func (c *config) parts(limit, models, most int64) (b budget) {
	b.models, b.calls = int64(c.Memory), int64(c.Inflight)
	least := limit / 8
	if b.models == 0 {
		b.models = models
		if b.calls > 0 {
			b.models = max(min(b.models, most-b.calls), least)
		}
	}
	if b.calls == 0 {
		b.calls = max(most-b.models, least)
	}
	return b
}

// fixed is the budget where nothing is known of the memory.
func (c *config) fixed() budget {
	const calls = 512 << 20
	b := budget{models: int64(c.Memory), calls: int64(c.Inflight)}
	if b.calls == 0 {
		b.calls = calls
	}
	return c.fit(b)
}

// fit has the largest body, answer and picture fit into what one tenant may hold: a body
// six times (serve), an answer as it is, in a buffer that is a quarter larger at most,
// and as it is sent, and beside a body and its decoding a picture of 6 bytes a pixel,
// which JPEGs take.
func (c *config) fit(b budget) budget {
	const bodies, pixel = 6, 6
	share := b.calls / 2
	b.maxBody = min(int64(c.MaxBody), share/bodies)
	b.maxOutput = min(int64(c.MaxOutput), share/9*4)
	b.maxPixels = min(c.MaxPixels, (share-2*b.maxBody)/pixel)
	return b
}

// log reports what follows from the memory, and what is less than was configured.
func (b *budget) log(c *config, logger *slog.Logger) {
	logger.Info("memory", "models", b.models, "requests", b.calls, "from", b.why)
	for _, bound := range []struct {
		variable   string
		asked, has int64
	}{
		{"MODELSERVE_MAX_BODY", int64(c.MaxBody), b.maxBody},
		{"MODELSERVE_MAX_OUTPUT", int64(c.MaxOutput), b.maxOutput},
		{"MODELSERVE_MAX_PIXELS", c.MaxPixels, b.maxPixels},
	} {
		if bound.has < bound.asked {
			logger.Info("a bound follows from the memory, of which a tenant's requests have at most half", "variable", bound.variable, "configured", bound.asked, "in_force", bound.has)
		}
	}
}
