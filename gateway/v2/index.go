package v2

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/internal/body"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// indexRow is one row of the repository index.
type indexRow struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

// parallel bounds what is asked at once for one answer, of the catalog or of
// functions.
const parallel = 8

func (s *Service) index(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	data, err := body.Read(r, infer.MaxControl)
	if err != nil {
		return err
	}
	onlyReady, err := infer.DecodeIndexRequest(data)
	if err != nil {
		return err
	}
	rows, err := s.repositoryIndex(r.Context(), c, onlyReady)
	if err != nil {
		return err
	}
	return writeJSON(w, rows)
}

// repositoryIndex lists every version the caller may see, by name, newest
// first.
func (s *Service) repositoryIndex(ctx context.Context, c *call.Call, onlyReady bool) ([]indexRow, error) {
	names, err := s.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	found := make([][]int, len(names))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, name := range names {
		group.Go(func() (err error) {
			found[i], err = s.Resolver.Versions(groupCtx, c.Bound, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	rows := []indexRow{}
	for i, name := range names {
		for _, version := range found[i] {
			row := s.indexRow(ctx, c.Bound, model.Ref{Name: name, Version: version})
			if !onlyReady || row.State == "READY" {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

func (s *Service) indexRow(ctx context.Context, at *route.Bound, ref model.Ref) indexRow {
	row := indexRow{Name: ref.Name, Version: strconv.Itoa(ref.Version), State: "READY"}
	if at == nil {
		at = s.Routes.Model(ref)
	}
	if why := s.Resolver.Unavailable(ctx, at, ref); why != nil {
		row.State, row.Reason = "UNAVAILABLE", why.Detail
	}
	return row
}

// visible lists the models of a host, or all, that the caller may read.
func (s *Service) visible(ctx context.Context, c *call.Call) (names []string, err error) {
	if c.Bound == nil {
		if names, err = s.Manifests.Names(ctx); err != nil {
			return nil, err
		}
	} else {
		for _, ref := range c.Bound.Pins() {
			if !slices.Contains(names, ref.Name) {
				names = append(names, ref.Name)
			}
		}
	}
	var mine []string
	for _, name := range names {
		if s.mayRead(ctx, c, name) {
			mine = append(mine, name)
		}
	}
	return mine, nil
}

func (s *Service) mayRead(ctx context.Context, c *call.Call, model string) bool {
	return s.Door.May(ctx, c, auth.Action{Verb: auth.DoRead, On: model})
}
