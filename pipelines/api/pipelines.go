package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/problem"
)

// register is POST /v1/pipelines. Who may is the gateway's to decide, which has read the
// same definition.
func (a *API) register(w http.ResponseWriter, c *call) error {
	text, err := c.readBody(c.Context(), definition.MaxText)
	if err != nil {
		return err
	}
	v, created, err := a.deps.Registry.Apply(c.Context(), c.tenant, text)
	if err != nil {
		return err //nolint:wrapcheck // a problem
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	w.Header().Set("Location", contract.PathOf(contract.VersionPath, v.Name, strconv.Itoa(v.Number)))
	return writeJSON(w, status, pipelineOf(v, labelsOf(v)))
}

// labelsOf are those of a definition, which its canonical form has.
func labelsOf(v *record.Version) map[string]string {
	var of struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if json.Unmarshal(v.Canonical, &of) != nil {
		return nil
	}
	return of.Metadata.Labels
}

func (a *API) listPipelines(w http.ResponseWriter, c *call) error {
	limit, after, err := c.query.page()
	if err != nil {
		return err
	}
	page, err := a.deps.Store.Pipelines(c.Context(), record.PipelineQuery{Tenant: c.tenant, After: after, Limit: limit})
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	return writePipelines(w, page)
}

func (a *API) listVersions(w http.ResponseWriter, c *call) error {
	limit, after, err := c.query.page()
	if err != nil {
		return err
	}
	page, err := a.deps.Store.Versions(c.Context(), c.PathValue("name"), record.PipelineQuery{Tenant: c.tenant, After: after, Limit: limit})
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	return writePipelines(w, page)
}

func writePipelines(w http.ResponseWriter, page *record.VersionPage) error {
	out := contract.Pipelines{Pipelines: make([]contract.Pipeline, 0, len(page.Versions)), NextCursor: page.Next.String()}
	for _, v := range page.Versions {
		out.Pipelines = append(out.Pipelines, pipelineOf(v, nil))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) showPipeline(w http.ResponseWriter, c *call) error {
	number, err := c.version()
	if err != nil {
		return err
	}
	v, err := a.deps.Store.Resolve(c.Context(), c.tenant, c.PathValue("name"), number)
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	return writeJSON(w, http.StatusOK, pipelineOf(v, labelsOf(v)))
}

// own is an error of a version that is none of the tenant's own: what is shipped they only
// see.
func (a *API) own(c *call, number int) error {
	v, err := a.deps.Store.Resolve(c.Context(), c.tenant, c.PathValue("name"), number)
	if err != nil {
		return err //nolint:wrapcheck // serve does
	}
	if v.Owner != c.tenant {
		return problem.New(problem.Conflict, "the pipeline ships with the platform: it cannot be changed; register one of this name, which counts before it")
	}
	return nil
}

func (a *API) deprecate(w http.ResponseWriter, c *call) error {
	number, err := c.version()
	if err != nil {
		return err
	}
	if err := a.own(c, number); err != nil {
		return err
	}
	if err := a.deps.Registry.Deprecate(c.Context(), c.tenant, c.PathValue("name"), number); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	return a.showPipeline(w, c)
}

func (a *API) deletePipeline(w http.ResponseWriter, c *call) error {
	if err := a.own(c, 0); err != nil {
		return err
	}
	if err := a.deps.Registry.Delete(c.Context(), c.tenant, c.PathValue("name")); err != nil {
		return err //nolint:wrapcheck // a problem
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
