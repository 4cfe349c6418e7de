package v2

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/problem"
)

// statsBody bounds one function's statistics.
const statsBody = 4 << 20

// modelStats is one version's row of Triton's statistics. The rest of it
// passes as it is.
type modelStats struct {
	name, version string
	row           json.RawMessage
}

func (s *Service) statistics(c *call.Call, w http.ResponseWriter, r *http.Request) error {
	stats, err := s.collect(r.Context(), c, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	rows := make([]json.RawMessage, 0, len(stats))
	for _, s := range stats {
		rows = append(rows, s.row)
	}
	return writeJSON(w, map[string]any{"model_stats": rows})
}

// collect gathers statistics from the functions that are not at zero. A model none
// of them knows has counted nothing since they began, so it gets zeros.
func (s *Service) collect(ctx context.Context, c *call.Call, name, version string) ([]modelStats, error) {
	path, number := "/v2/models/stats", ""
	if name != "" {
		found, err := s.Door.Find(ctx, c, door.Ask{Verb: auth.DoCount, Model: name, Version: version})
		if err != nil {
			return nil, err
		}
		name, number = found.Ref.Name, strconv.Itoa(found.Ref.Version)
		path = "/v2/models/" + name + "/stats"
	} else {
		end, err := s.Door.Admit(ctx, c)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	holders := s.holders(c.Bound, name)
	answers := make([][]modelStats, len(holders))
	err := each(ctx, holders, func(ctx context.Context, i int, at *route.Bound) (err error) {
		answers[i], err = s.statsOf(ctx, c, at, path)
		if name == "" && ctx.Err() != nil {
			err = nil // one that hangs keeps nobody from the others' counts
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []modelStats
	for _, rows := range answers {
		for _, row := range rows {
			if (name == "" && s.Door.May(ctx, c, auth.Action{Verb: auth.DoCount, On: row.name})) || (row.name == name && (version == "" || row.version == number)) {
				all = append(all, row)
			}
		}
	}
	if name != "" && len(all) == 0 {
		all = append(all, noStats(name, number))
	}
	return all, nil
}

func (s *Service) statsOf(ctx context.Context, c *call.Call, at *route.Bound, path string) ([]modelStats, error) {
	res, err := s.ask(ctx, c, at, http.MethodGet, path) //nolint:bodyclose // Close does
	if err != nil || res == nil {
		return nil, err
	}
	defer forward.Close(res)
	if res.StatusCode == http.StatusNotFound { // never used there
		return nil, nil
	}
	if res.StatusCode != http.StatusOK {
		return nil, forward.Refusal(res)
	}
	var answer struct {
		Stats []json.RawMessage `json:"model_stats"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, statsBody)).Decode(&answer); err != nil {
		return nil, unreadable(err)
	}
	var rows []modelStats
	for _, raw := range answer.Stats {
		var row struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		}
		if err := json.Unmarshal(raw, &row); err != nil {
			return nil, unreadable(err)
		}
		rows = append(rows, modelStats{row.Name, row.Version, raw})
	}
	return rows, nil
}

func unreadable(err error) error {
	return problem.New(problem.BadGateway, "the function's statistics cannot be read: %w", problem.ForLog(err))
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
