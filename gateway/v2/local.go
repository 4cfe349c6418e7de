package v2

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// These are the procedures that the gateway answers by itself, from the same
// functions as REST.

func (*Service) serverLive(_ context.Context, _ *call.Call, _ *inferpb.ServerLiveRequest) (*inferpb.ServerLiveResponse, error) {
	return &inferpb.ServerLiveResponse{Live: true}, nil
}

func (s *Service) serverReady(ctx context.Context, c *call.Call, _ *inferpb.ServerReadyRequest) (*inferpb.ServerReadyResponse, error) {
	return &inferpb.ServerReadyResponse{Ready: s.NotReady(ctx, c.Bound) == nil}, nil
}

func (s *Service) serverMetadataGRPC(_ context.Context, _ *call.Call, _ *inferpb.ServerMetadataRequest) (*inferpb.ServerMetadataResponse, error) {
	return &inferpb.ServerMetadataResponse{Name: serverName, Version: s.Version, Extensions: extensions()}, nil
}

// modelReadyGRPC is false, not an error, for a model that is not published, as
// Triton's is.
func (s *Service) modelReadyGRPC(ctx context.Context, c *call.Call, in *inferpb.ModelReadyRequest) (*inferpb.ModelReadyResponse, error) {
	_, why, err := s.readiness(ctx, c, in.GetName(), in.GetVersion())
	if problem.CodeOf(err) == problem.ModelNotFound {
		return &inferpb.ModelReadyResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &inferpb.ModelReadyResponse{Ready: why == nil}, nil
}

func (s *Service) modelMetadataGRPC(ctx context.Context, c *call.Call, in *inferpb.ModelMetadataRequest) (*inferpb.ModelMetadataResponse, error) {
	m, err := s.describe(ctx, c, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, err
	}
	return &inferpb.ModelMetadataResponse{
		Name: m.Name, Versions: m.Versions, Platform: m.Platform,
		Inputs: tensorMetadata(m.Inputs), Outputs: tensorMetadata(m.Outputs),
	}, nil
}

func tensorMetadata(list []metadataTensor) []*inferpb.ModelMetadataResponse_TensorMetadata {
	out := make([]*inferpb.ModelMetadataResponse_TensorMetadata, len(list))
	for i, m := range list {
		out[i] = &inferpb.ModelMetadataResponse_TensorMetadata{Name: m.Name, Datatype: string(m.DataType), Shape: m.Shape}
	}
	return out
}

func (s *Service) modelStatistics(ctx context.Context, c *call.Call, in *inferpb.ModelStatisticsRequest) (*inferpb.ModelStatisticsResponse, error) {
	stats, err := s.collect(ctx, c, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, err
	}
	out := &inferpb.ModelStatisticsResponse{}
	for _, stat := range stats {
		row := &inferpb.ModelStatistics{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(stat.row, row); err != nil {
			return nil, unreadable(err)
		}
		out.ModelStats = append(out.ModelStats, row)
	}
	return out, nil
}

func (s *Service) repositoryIndexGRPC(ctx context.Context, c *call.Call, in *inferpb.RepositoryIndexRequest) (*inferpb.RepositoryIndexResponse, error) {
	out := &inferpb.RepositoryIndexResponse{}
	if in.GetRepositoryName() != "" { // there is one, without a name
		return out, nil
	}
	rows, err := s.repositoryIndex(ctx, c, in.GetReady())
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out.Models = append(out.Models, &inferpb.RepositoryIndexResponse_ModelIndex{Name: r.Name, Version: r.Version, State: r.State, Reason: r.Reason})
	}
	return out, nil
}

func (s *Service) repositoryModelLoad(ctx context.Context, c *call.Call, in *inferpb.RepositoryModelLoadRequest) (*inferpb.RepositoryModelLoadResponse, error) {
	for name := range in.GetParameters() {
		return nil, infer.LoadParameter(name)
	}
	if err := s.loadModel(ctx, c, in.GetModelName()); err != nil {
		return nil, err
	}
	return &inferpb.RepositoryModelLoadResponse{}, nil
}

func (s *Service) repositoryModelUnload(ctx context.Context, c *call.Call, in *inferpb.RepositoryModelUnloadRequest) (*inferpb.RepositoryModelUnloadResponse, error) {
	if err := s.unloadModel(ctx, c, in.GetModelName()); err != nil {
		return nil, err
	}
	return &inferpb.RepositoryModelUnloadResponse{}, nil
}
