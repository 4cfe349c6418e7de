package serve

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// serverName is what the metadata calls the server.
const serverName = "modelserve"

// extensions are the protocol's extensions served, by the names Triton gives
// them.
func extensions() []string {
	return []string{"binary_tensor_data", "model_repository", "model_configuration", "statistics", "schedule_policy"}
}

// serverMetadata answers GET /v2.
type serverMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

func (s *Server) serveServerMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, serverMetadata{Name: serverName, Version: s.cfg.Version, Extensions: extensions()})
}

// modelMetadata answers GET /v2/models/{model}.
type modelMetadata struct {
	Name       string            `json:"name"`
	Versions   []string          `json:"versions"`
	Platform   string            `json:"platform"`
	Inputs     []tensorMetadata  `json:"inputs"`
	Outputs    []tensorMetadata  `json:"outputs"`
	Parameters map[string]string `json:"parameters"` // ours: what the version is, and where it runs
}

type tensorMetadata struct {
	Name     string         `json:"name"`
	DataType infer.DataType `json:"datatype"`
	Shape    []int64        `json:"shape"`
}

func (s *Server) serveModelMetadata(w http.ResponseWriter, r *http.Request) error {
	info, err := s.model(r)
	if err != nil {
		return err
	}
	parameters := map[string]string{
		"version": info.Version,
		"digest":  info.Digest,
		"device":  info.Device,
	}
	if info.DeviceReason != "" {
		parameters["device_reason"] = info.DeviceReason
	}
	writeJSON(w, http.StatusOK, modelMetadata{
		Name:       info.Name,
		Versions:   info.Versions,
		Platform:   info.Platform,
		Inputs:     tensorsMetadata(info.Signature.Inputs),
		Outputs:    tensorsMetadata(info.Signature.Outputs),
		Parameters: parameters,
	})
	return nil
}

func tensorsMetadata(specs []infer.TensorSpec) []tensorMetadata {
	out := make([]tensorMetadata, len(specs))
	for i, spec := range specs {
		out[i] = tensorMetadata{Name: spec.Name, DataType: spec.DataType, Shape: spec.Described()}
	}
	return out
}

// model looks up the model a URL names.
func (s *Server) model(r *http.Request) (*ModelInfo, error) {
	name, version := r.PathValue("model"), r.PathValue("version")
	if err := checkRef(name, version); err != nil {
		return nil, err
	}
	return s.cfg.Repository.Model(r.Context(), name, version)
}

// callable reports whether a call to the model would be answered: one being
// loaded makes it wait, no more.
func callable(info *ModelInfo) bool { return info.State != Unavailable }

func (s *Server) serveModelReady(w http.ResponseWriter, r *http.Request) error {
	info, err := s.model(r)
	if err != nil {
		return err
	}
	if !callable(info) {
		return problem.New(problem.ModelUnavailable, "model %s@%s is not ready: %s", info.Name, info.Version, info.Reason)
	}
	writeJSON(w, http.StatusOK, map[string]any{"name": info.Name, "ready": true})
	return nil
}

// indexRow is one model of the repository index.
type indexRow struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
}

func (s *Server) serveIndex(w http.ResponseWriter, r *http.Request) error {
	body, err := s.readControl(w, r)
	if err != nil {
		return err
	}
	onlyReady, err := infer.DecodeIndexRequest(body)
	if err != nil {
		return err
	}
	models, err := s.cfg.Repository.Index(r.Context())
	if err != nil {
		return err
	}
	rows := make([]indexRow, 0, len(models))
	for _, m := range models {
		if !onlyReady || m.State == Ready {
			rows = append(rows, indexRow(m))
		}
	}
	writeJSON(w, http.StatusOK, rows)
	return nil
}

func (s *Server) serveLoad(w http.ResponseWriter, r *http.Request) error {
	return s.manage(w, r, infer.DecodeLoadRequest, s.cfg.Repository.Load)
}

func (s *Server) serveUnload(w http.ResponseWriter, r *http.Request) error {
	return s.manage(w, r, infer.DecodeUnloadRequest, s.cfg.Repository.Unload)
}

// manage answers a load or unload, whose body is not needed once it has been
// checked.
func (s *Server) manage(w http.ResponseWriter, r *http.Request, check func(body []byte) error, do func(ctx context.Context, name string) error) error {
	name, err := infer.ParseName(r.PathValue("model"))
	if err != nil {
		return err
	}
	body, err := s.readControl(w, r)
	if err != nil {
		return err
	}
	if err := check(body); err != nil {
		return err
	}
	if err := do(r.Context(), name); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// readControl reads the small JSON body of a repository call; it may be empty.
func (s *Server) readControl(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	media := mediaType(r.Header.Get("Content-Type"))
	if err := infer.RefuseForm(media, nil, infer.InsteadOfForm); err != nil {
		return nil, err
	}
	held := s.memory.Open(s.payer(r.Header))
	defer held.End()
	if err := held.Take(r.Context(), 2*infer.MaxControl+inflaterBytes); err != nil {
		return nil, err
	}
	paced := s.paced(w, http.MaxBytesReader(w, r.Body, infer.MaxControl))
	defer paced.lift()
	wire := &wireReader{r: paced}
	src, _, err := decompress(r.Header.Values("Content-Encoding"), wire)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(&endingReader{r: src}, infer.MaxControl+1))
	switch {
	case err != nil:
		return nil, s.bodyError(wire, err)
	case len(body) > infer.MaxControl:
		return nil, problem.New(problem.PayloadTooLarge, "expected a body of at most %d bytes", infer.MaxControl)
	}
	return body, infer.RefuseForm(media, body, infer.InsteadOfForm)
}

// serveConfig answers a model's configuration in Triton's form.
func (s *Server) serveConfig(w http.ResponseWriter, r *http.Request) error {
	info, err := s.model(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, configJSON(modelConfig(info)))
	return nil
}

// modelConfig describes a model in Triton's configuration. Its shapes hold every
// axis, so max_batch_size is 0.
func modelConfig(info *ModelInfo) *inferpb.ModelConfig {
	kind := inferpb.ModelInstanceGroup_KIND_CPU
	switch {
	case info.Device == "auto":
		kind = inferpb.ModelInstanceGroup_KIND_AUTO
	case info.Device != "cpu" && info.Device != "":
		kind = inferpb.ModelInstanceGroup_KIND_GPU
	}
	config := &inferpb.ModelConfig{
		Name:                 info.Name,
		Platform:             info.Platform,
		Backend:              "onnxruntime",
		VersionPolicy:        &inferpb.ModelVersionPolicy{PolicyChoice: &inferpb.ModelVersionPolicy_All_{All: &inferpb.ModelVersionPolicy_All{}}},
		InstanceGroup:        []*inferpb.ModelInstanceGroup{{Name: info.Name, Kind: kind, Count: 1}},
		DefaultModelFilename: "model.onnx",
		Parameters:           map[string]*inferpb.ModelParameter{"digest": {StringValue: info.Digest}},
	}
	for _, in := range info.Signature.Inputs {
		config.Input = append(config.Input, &inferpb.ModelInput{Name: in.Name, DataType: configType(in.DataType), Dims: in.Described(), Optional: in.Optional})
	}
	for _, out := range info.Signature.Outputs {
		config.Output = append(config.Output, &inferpb.ModelOutput{Name: out.Name, DataType: configType(out.DataType), Dims: out.Described()})
	}
	return config
}

// configType is a data type as the configuration names it.
func configType(d infer.DataType) inferpb.DataType {
	if d == infer.Bytes {
		return inferpb.DataType_TYPE_STRING
	}
	return inferpb.DataType(inferpb.DataType_value["TYPE_"+string(d)])
}

// configJSON is the configuration as Triton's REST writes it: protobuf's own
// JSON would make strings of 64-bit numbers.
func configJSON(c *inferpb.ModelConfig) any {
	type tensor struct {
		Name     string  `json:"name"`
		DataType string  `json:"data_type"`
		Dims     []int64 `json:"dims"`
		Optional bool    `json:"optional,omitempty"`
	}
	type group struct {
		Name  string `json:"name"`
		Kind  string `json:"kind"`
		Count int32  `json:"count"`
	}
	type parameter struct {
		StringValue string `json:"string_value"`
	}
	var out struct {
		Name          string               `json:"name"`
		Platform      string               `json:"platform"`
		Backend       string               `json:"backend"`
		VersionPolicy json.RawMessage      `json:"version_policy"`
		MaxBatchSize  int32                `json:"max_batch_size"`
		Input         []tensor             `json:"input"`
		Output        []tensor             `json:"output"`
		InstanceGroup []group              `json:"instance_group"`
		File          string               `json:"default_model_filename"`
		Parameters    map[string]parameter `json:"parameters"`
	}
	out.Name, out.Platform, out.Backend, out.File = c.GetName(), c.GetPlatform(), c.GetBackend(), c.GetDefaultModelFilename()
	out.VersionPolicy = json.RawMessage(`{"all":{}}`)
	for _, in := range c.GetInput() {
		out.Input = append(out.Input, tensor{in.GetName(), in.GetDataType().String(), append([]int64{}, in.GetDims()...), in.GetOptional()})
	}
	for _, o := range c.GetOutput() {
		out.Output = append(out.Output, tensor{o.GetName(), o.GetDataType().String(), append([]int64{}, o.GetDims()...), false})
	}
	for _, g := range c.GetInstanceGroup() {
		out.InstanceGroup = append(out.InstanceGroup, group{g.GetName(), g.GetKind().String(), g.GetCount()})
	}
	out.Parameters = map[string]parameter{}
	for k, v := range c.GetParameters() {
		out.Parameters[k] = parameter{v.GetStringValue()}
	}
	return out
}

// serveStats answers the statistics of one model, or of all.
func (s *Server) serveStats(w http.ResponseWriter, r *http.Request) error {
	name, version := r.PathValue("model"), r.PathValue("version")
	if name != "" {
		if err := checkRef(name, version); err != nil {
			return err
		}
	}
	stats, err := s.cfg.Repository.Stats(r.Context(), name, version)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, statsJSON(stats))
	return nil
}

// duration is a count and a time in Triton's statistics.
type duration struct {
	Count uint64 `json:"count"`
	NS    uint64 `json:"ns"`
}

// statsJSON is Triton's statistics response
// (https://github.com/triton-inference-server/server, extension_statistics).
func statsJSON(stats []ModelStats) any {
	type batch struct {
		BatchSize     uint64   `json:"batch_size"`
		ComputeInput  duration `json:"compute_input"`
		ComputeInfer  duration `json:"compute_infer"`
		ComputeOutput duration `json:"compute_output"`
	}
	type model struct {
		Name           string              `json:"name"`
		Version        string              `json:"version"`
		LastInference  uint64              `json:"last_inference"`
		InferenceCount uint64              `json:"inference_count"`
		ExecutionCount uint64              `json:"execution_count"`
		InferenceStats map[string]duration `json:"inference_stats"`
		ResponseStats  struct{}            `json:"response_stats"` // only decoupled models have any
		BatchStats     []batch             `json:"batch_stats"`
		MemoryUsage    []struct{}          `json:"memory_usage"`
	}
	models := make([]model, 0, len(stats))
	for i := range stats {
		m := &stats[i]
		row := model{
			Name: m.Name, Version: m.Version, LastInference: milliseconds(m.LastInference),
			InferenceCount: m.InferenceCount, ExecutionCount: m.ExecutionCount,
			InferenceStats: map[string]duration{
				"success":        newDuration(m.Success),
				"fail":           newDuration(m.Fail),
				"queue":          newDuration(m.Queue),
				"compute_input":  newDuration(m.ComputeInput),
				"compute_infer":  newDuration(m.ComputeInfer),
				"compute_output": newDuration(m.ComputeOutput),
				"cache_hit":      {},
				"cache_miss":     {},
			},
			BatchStats: []batch{}, MemoryUsage: []struct{}{},
		}
		for _, b := range m.Batches {
			row.BatchStats = append(row.BatchStats, batch{b.BatchSize, newDuration(b.ComputeInput), newDuration(b.ComputeInfer), newDuration(b.ComputeOutput)})
		}
		models = append(models, row)
	}
	return map[string]any{"model_stats": models}
}

func newDuration(d Duration) duration {
	return duration{Count: d.Count, NS: uint64(max(d.Total, 0))}
}

// milliseconds is a time in milliseconds since 1970, as Triton has it; 0 for never.
func milliseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMilli(), 0))
}
