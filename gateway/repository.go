package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// load hands the call to the function that calls without a version go to,
// waking it.
func (g *gateway) load(c *call) error {
	ctx := c.r.Context()
	at, pin, err := g.loadTarget(ctx, c.bound, c.param("model"))
	if err != nil {
		return err
	}
	g.forward(c, at.URL, loadPath(pin.Name), func(res *http.Response) error {
		if err := onTheWay(res); err != nil {
			return err
		}
		return g.learn(&target{model: pin.Name, pin: pin}, res)
	})
	return nil
}

// loadModel is load for gRPC, whose answer has nothing in it.
func (g *gateway) loadModel(ctx context.Context, bound *route.Bound, name string) error {
	at, pin, err := g.loadTarget(ctx, bound, name)
	if err != nil {
		return err
	}
	res, err := g.send(ctx, at, http.MethodPost, loadPath(pin.Name), "")
	if err != nil {
		return err
	}
	defer closeBody(res)
	if err := g.learn(&target{model: pin.Name, pin: pin}, res); err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return refused(res)
	}
	return nil
}

func loadPath(model string) string { return "/v2/repository/models/" + model + "/load" }

func (g *gateway) loadTarget(ctx context.Context, bound *route.Bound, name string) (*route.Bound, route.Pin, error) {
	g.deps.Catalog.Renew(ctx) // who loads means what is published now
	found, err := g.locate(ctx, auth.DoLoad, bound, name, "")
	if err != nil {
		return nil, route.Pin{}, err
	}
	pin := found.Pin
	at := bound
	if at == nil {
		if at = g.deps.Routes.Model(pin); at == nil {
			return nil, pin, problem.New(problem.Unavailable, "no function serves %s and there is no pool", pin)
		}
	}
	observed(ctx).function = at.Function.Name
	return at, pin, nil
}

func (g *gateway) unload(c *call) error {
	body, err := readControl(c.r, infer.MaxControl)
	if err != nil {
		return err
	}
	if err := infer.DecodeUnloadRequest(body); err != nil {
		return err
	}
	if err := g.unloadModel(c.r.Context(), c.bound, c.param("model")); err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, struct{}{})
}

// unloadModel frees a model's memory wherever it may be. A function at zero
// has freed it already, and stays there.
func (g *gateway) unloadModel(ctx context.Context, bound *route.Bound, name string) error {
	found, err := g.locate(ctx, auth.DoLoad, bound, name, "")
	if err != nil {
		return err
	}
	model := found.Name
	return g.each(ctx, g.holders(bound, model), func(ctx context.Context, at *route.Bound) error {
		res, err := g.ask(ctx, at, http.MethodPost, "/v2/repository/models/"+model+"/unload")
		if err != nil || res == nil {
			return err
		}
		defer closeBody(res)
		// A holder that does not know the model has nothing to free.
		if res.StatusCode >= http.StatusBadRequest && res.StatusCode != http.StatusNotFound {
			return refused(res)
		}
		return nil
	})
}

// statsBody bounds one function's statistics.
const statsBody = 4 << 20

// modelStats is one version's row of Triton's statistics. The rest of it
// passes as it is.
type modelStats struct {
	name, version string
	row           json.RawMessage
}

func (g *gateway) statistics(c *call) error {
	stats, err := g.collect(c.r.Context(), c.bound, c.param("model"), c.param("version"))
	if err != nil {
		return err
	}
	rows := make([]json.RawMessage, 0, len(stats))
	for _, s := range stats {
		rows = append(rows, s.row)
	}
	return writeJSON(c.w, http.StatusOK, map[string]any{"model_stats": rows})
}

// collect gathers statistics from the functions that are awake. A model none
// of them knows has counted nothing since they began, so it gets zeros.
func (g *gateway) collect(ctx context.Context, bound *route.Bound, name, version string) ([]modelStats, error) {
	path, number := "/v2/models/stats", ""
	if name != "" {
		found, err := g.locate(ctx, auth.DoRead, bound, name, version)
		if err != nil {
			return nil, err
		}
		name, number = found.Name, strconv.Itoa(found.Version)
		path = "/v2/models/" + name + "/stats"
	}
	holders := g.holders(bound, name)
	answers := make([][]modelStats, len(holders))
	err := g.each(ctx, holders, func(ctx context.Context, at *route.Bound) (err error) {
		for i := range holders {
			if holders[i] == at {
				answers[i], err = g.statsOf(ctx, at, path)
				if name == "" && ctx.Err() != nil {
					err = nil // one that hangs keeps nobody from the others' counts
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []modelStats
	for _, rows := range answers {
		for _, s := range rows {
			if (name == "" && g.mayRead(ctx, s.name)) || (s.name == name && (version == "" || s.version == number)) {
				all = append(all, s)
			}
		}
	}
	if name != "" && len(all) == 0 {
		all = append(all, noStats(name, number))
	}
	return all, nil
}

func (g *gateway) mayRead(ctx context.Context, model string) bool {
	return g.authorizer.Authorize(ctx, auth.PrincipalOf(ctx), auth.Action{Verb: auth.DoRead, On: model}) == nil
}

func (g *gateway) statsOf(ctx context.Context, at *route.Bound, path string) ([]modelStats, error) {
	res, err := g.ask(ctx, at, http.MethodGet, path)
	if err != nil || res == nil {
		return nil, err
	}
	defer closeBody(res)
	if res.StatusCode == http.StatusNotFound { // never used there
		return nil, nil
	}
	if res.StatusCode != http.StatusOK {
		return nil, refused(res)
	}
	var answer struct {
		Stats []json.RawMessage `json:"model_stats"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, statsBody)).Decode(&answer); err != nil {
		return nil, problem.New(problem.BadGateway, "the function's statistics cannot be read: %w", unspoken{err})
	}
	var rows []modelStats
	for _, raw := range answer.Stats {
		var row struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		}
		if err := json.Unmarshal(raw, &row); err != nil {
			return nil, problem.New(problem.BadGateway, "the function's statistics cannot be read: %w", unspoken{err})
		}
		rows = append(rows, modelStats{row.Name, row.Version, raw})
	}
	return rows, nil
}

// noStats is a row of zeros, with every field Triton's has.
func noStats(name, version string) modelStats {
	zero := map[string]int{"count": 0, "ns": 0}
	inference := map[string]any{}
	for _, part := range []string{"success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"} {
		inference[part] = zero
	}
	row, err := json.Marshal(map[string]any{
		"name": name, "version": version, "last_inference": 0, "inference_count": 0, "execution_count": 0,
		"inference_stats": inference, "batch_stats": []any{},
	})
	if err != nil {
		panic(err) // strings and numbers only: cannot happen
	}
	return modelStats{name, version, row}
}

func (g *gateway) holders(bound *route.Bound, model string) []*route.Bound {
	if bound != nil {
		return []*route.Bound{bound}
	}
	return g.deps.Routes.Holders(model)
}

// each asks functions at once, a bounded number of them, and returns the first
// error.
func (g *gateway) each(ctx context.Context, functions []*route.Bound, do func(context.Context, *route.Bound) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(indexParallel)
	for _, at := range functions {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			return do(ctx, at)
		})
	}
	return group.Wait()
}

// askTimeout bounds what one function may take to tell of itself.
const askTimeout = 3 * time.Second

// ask sends a function a request that wakes nothing; the response is nil when
// it is at zero.
func (g *gateway) ask(ctx context.Context, at *route.Bound, method, path string) (*http.Response, error) {
	res, err := g.send(ctx, at, method, path, route.WakeNever)
	if errors.Is(err, route.ErrAsleep) {
		return nil, nil //nolint:nilnil // at zero there is no answer and nothing wrong
	}
	return res, err
}

// send sends a function a request of the gateway's own.
func (g *gateway) send(ctx context.Context, at *route.Bound, method, path, wake string) (*http.Response, error) {
	to := *at.URL
	to.Path = path
	req, err := http.NewRequestWithContext(ctx, method, to.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", at.Function.Name, err)
	}
	handOn(ctx, req.Header)
	if wake != "" {
		req.Header.Set(route.WakeHeader, wake)
	}
	res, err := g.deps.Transport.RoundTrip(req)
	if errors.Is(err, route.ErrAsleep) {
		return nil, err
	}
	if err != nil {
		return nil, upstream(ctx, err)
	}
	return res, nil
}

// refused is a function's error answer, or what stands before it gives, as an
// error.
func refused(res *http.Response) error {
	if err := onTheWay(res); err != nil {
		return err
	}
	var told struct {
		Error string       `json:"error"`
		Code  problem.Code `json:"code"`
	}
	err := json.NewDecoder(io.LimitReader(res.Body, errorBody)).Decode(&told)
	if err != nil || told.Code.Row() == problem.Internal.Row() {
		return problem.New(problem.BadGateway, "the function answered %d", res.StatusCode)
	}
	return problem.New(told.Code, "%s", told.Error)
}

// closeBody reads what little is left, so that the connection can be used
// again.
func closeBody(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, errorBody)
	_ = res.Body.Close()
}
