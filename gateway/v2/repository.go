package v2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/body"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// load sends the call to the function that calls without a version go to, waking
// it.
func (s *Service) load(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	p, err := s.passLoad(r.Context(), c, r.PathValue("model"))
	if err != nil {
		return err
	}
	return p.Serve(s.Proxy, w, r, loadPath(p))
}

// loadModel is load for gRPC, whose answer has nothing in it.
func (s *Service) loadModel(ctx context.Context, c *call.Call, name string) error {
	p, err := s.passLoad(ctx, c, name)
	if err != nil {
		return err
	}
	defer p.End()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function"+loadPath(p), http.NoBody)
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	res, err := p.Send(ctx, r) //nolint:bodyclose // Close does
	if err != nil {
		return err
	}
	defer forward.Close(res)
	if err := p.Learn(res); err != nil || res.StatusCode < http.StatusBadRequest {
		return err
	}
	return forward.Refusal(res)
}

func (s *Service) passLoad(ctx context.Context, c *call.Call, model string) (*door.Passage, error) {
	s.Resolver.Renew(ctx) // a load is of what is published now
	return s.Door.Pass(ctx, c, door.Ask{Verb: auth.DoLoad, Model: model})
}

func loadPath(p *door.Passage) string {
	return "/v2/repository/models/" + p.Target.Ref.Name + "/load"
}

func (s *Service) unload(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	data, err := body.Read(r, infer.MaxControl)
	if err != nil {
		return err
	}
	if err := infer.DecodeUnloadRequest(data); err != nil {
		return err
	}
	if err := s.unloadModel(r.Context(), c, r.PathValue("model")); err != nil {
		return err
	}
	return writeJSON(w, struct{}{})
}

// unloadModel frees a model's memory wherever it may be. A function at zero
// has freed it already, and stays there.
func (s *Service) unloadModel(ctx context.Context, c *call.Call, name string) error {
	found, err := s.Door.Find(ctx, c, door.Ask{Verb: auth.DoLoad, Model: name})
	if err != nil {
		return err
	}
	path := "/v2/repository/models/" + found.Ref.Name + "/unload"
	return each(ctx, s.holders(c.Bound, found.Ref.Name), func(ctx context.Context, _ int, at *route.Bound) error {
		res, err := s.ask(ctx, c, at, http.MethodPost, path) //nolint:bodyclose // Close does
		if err != nil || res == nil {
			return err
		}
		defer forward.Close(res)
		// A holder that does not know the model has nothing to free.
		if res.StatusCode >= http.StatusBadRequest && res.StatusCode != http.StatusNotFound {
			return forward.Refusal(res)
		}
		return nil
	})
}

// holders are the functions that may have a model in memory; of "" any model.
func (s *Service) holders(bound *route.Bound, model string) []*route.Bound {
	if bound != nil {
		return []*route.Bound{bound}
	}
	return s.Routes.Holders(model)
}

// each asks functions at once, a bounded number of them, and returns the first
// error.
func each(ctx context.Context, functions []*route.Bound, do func(ctx context.Context, i int, at *route.Bound) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, at := range functions {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			return do(ctx, i, at)
		})
	}
	return group.Wait()
}

// askTimeout bounds what one function may take to answer about itself.
const askTimeout = 3 * time.Second

// ask sends a function a request that wakes nothing; the response is nil when
// it is at zero.
func (s *Service) ask(ctx context.Context, c *call.Call, at *route.Bound, method, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://function"+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", at.Function.Name, err)
	}
	r.Header.Set(infer.WakeHeader, infer.WakeNever)
	res, err := s.Forwarder.Forward(ctx, c, &call.Target{URL: at.URL, Function: at.Function.Name}, r)
	if errors.Is(err, route.ErrAtZero) {
		return nil, nil //nolint:nilnil // at zero there is no answer and nothing wrong
	}
	return res, err
}
