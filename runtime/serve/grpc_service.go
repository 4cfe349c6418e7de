package serve

import (
	"context"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// inference is the service's procedures.
type inference struct{ s *Server }

var _ inferpbconnect.GRPCInferenceServiceHandler = (*inference)(nil)

func (i *inference) ServerLive(context.Context, *inferpb.ServerLiveRequest) (*inferpb.ServerLiveResponse, error) {
	return &inferpb.ServerLiveResponse{Live: true}, nil
}

func (i *inference) ServerReady(context.Context, *inferpb.ServerReadyRequest) (*inferpb.ServerReadyResponse, error) {
	return &inferpb.ServerReadyResponse{Ready: i.s.cfg.Health.isReady()}, nil
}

func (i *inference) ServerMetadata(context.Context, *inferpb.ServerMetadataRequest) (*inferpb.ServerMetadataResponse, error) {
	return &inferpb.ServerMetadataResponse{Name: serverName, Version: i.s.cfg.Version, Extensions: extensions()}, nil
}

// model looks up a model.
func (i *inference) model(ctx context.Context, name, version string) (*ModelInfo, error) {
	if err := checkRef(name, version); err != nil {
		return nil, err
	}
	return i.s.cfg.Repository.Model(ctx, name, version)
}

// ModelReady is false, not an error, for a model that does not exist, as
// Triton's is.
func (i *inference) ModelReady(ctx context.Context, in *inferpb.ModelReadyRequest) (*inferpb.ModelReadyResponse, error) {
	info, err := i.model(ctx, in.GetName(), in.GetVersion())
	if problem.CodeOf(err) == problem.ModelNotFound {
		return &inferpb.ModelReadyResponse{}, nil
	}
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	return &inferpb.ModelReadyResponse{Ready: callable(info)}, nil
}

func (i *inference) ModelMetadata(ctx context.Context, in *inferpb.ModelMetadataRequest) (*inferpb.ModelMetadataResponse, error) {
	info, err := i.model(ctx, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	return &inferpb.ModelMetadataResponse{
		Name: info.Name, Versions: info.Versions, Platform: info.Platform,
		Inputs: grpcMetadata(info.Signature.Inputs), Outputs: grpcMetadata(info.Signature.Outputs),
	}, nil
}

func grpcMetadata(specs []infer.TensorSpec) []*inferpb.ModelMetadataResponse_TensorMetadata {
	out := make([]*inferpb.ModelMetadataResponse_TensorMetadata, len(specs))
	for i, spec := range specs {
		out[i] = &inferpb.ModelMetadataResponse_TensorMetadata{Name: spec.Name, Datatype: string(spec.DataType), Shape: spec.Described()}
	}
	return out
}

func (i *inference) ModelConfig(ctx context.Context, in *inferpb.ModelConfigRequest) (*inferpb.ModelConfigResponse, error) {
	info, err := i.model(ctx, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	return &inferpb.ModelConfigResponse{Config: modelConfig(info)}, nil
}

func (i *inference) ModelStatistics(ctx context.Context, in *inferpb.ModelStatisticsRequest) (*inferpb.ModelStatisticsResponse, error) {
	if in.GetName() != "" {
		if err := checkRef(in.GetName(), in.GetVersion()); err != nil {
			return nil, i.s.grpcFail(ctx, err)
		}
	}
	stats, err := i.s.cfg.Repository.Stats(ctx, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	out := &inferpb.ModelStatisticsResponse{}
	for k := range stats {
		out.ModelStats = append(out.ModelStats, grpcStats(&stats[k]))
	}
	return out, nil
}

func (i *inference) RepositoryIndex(ctx context.Context, in *inferpb.RepositoryIndexRequest) (*inferpb.RepositoryIndexResponse, error) {
	out := &inferpb.RepositoryIndexResponse{}
	if in.GetRepositoryName() != "" {
		return out, nil
	}
	models, err := i.s.cfg.Repository.Index(ctx)
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	for _, m := range models {
		if !in.GetReady() || m.State == Ready {
			out.Models = append(out.Models, &inferpb.RepositoryIndexResponse_ModelIndex{Name: m.Name, Version: m.Version, State: string(m.State), Reason: m.Reason})
		}
	}
	return out, nil
}

func (i *inference) RepositoryModelLoad(ctx context.Context, in *inferpb.RepositoryModelLoadRequest) (*inferpb.RepositoryModelLoadResponse, error) {
	name, err := infer.ParseName(in.GetModelName())
	for parameter := range in.GetParameters() {
		err = infer.LoadParameter(parameter)
	}
	if err == nil {
		err = i.s.cfg.Repository.Load(ctx, name)
	}
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	return &inferpb.RepositoryModelLoadResponse{}, nil
}

func (i *inference) RepositoryModelUnload(ctx context.Context, in *inferpb.RepositoryModelUnloadRequest) (*inferpb.RepositoryModelUnloadResponse, error) {
	name, err := infer.ParseName(in.GetModelName())
	if err == nil {
		err = i.s.cfg.Repository.Unload(ctx, name)
	}
	if err != nil {
		return nil, i.s.grpcFail(ctx, err)
	}
	return &inferpb.RepositoryModelUnloadResponse{}, nil
}
