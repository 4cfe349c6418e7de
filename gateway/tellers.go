package gateway

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// tellers are the procedures that the gateway answers by itself, from the same
// functions as REST.
type tellers struct {
	inferpbconnect.UnimplementedGRPCInferenceServiceHandler

	g *gateway
}

func (*tellers) ServerLive(context.Context, *inferpb.ServerLiveRequest) (*inferpb.ServerLiveResponse, error) {
	return &inferpb.ServerLiveResponse{Live: true}, nil
}

func (t *tellers) ServerReady(ctx context.Context, _ *inferpb.ServerReadyRequest) (*inferpb.ServerReadyResponse, error) {
	return &inferpb.ServerReadyResponse{Ready: t.g.isReady(ctx, boundOf(ctx)) == nil}, nil
}

func (t *tellers) ServerMetadata(context.Context, *inferpb.ServerMetadataRequest) (*inferpb.ServerMetadataResponse, error) {
	return &inferpb.ServerMetadataResponse{Name: serverName, Version: t.g.config.Version, Extensions: extensions()}, nil
}

// ModelReady is false, not an error, for a model that is not published, as
// Triton's is.
func (t *tellers) ModelReady(ctx context.Context, in *inferpb.ModelReadyRequest) (*inferpb.ModelReadyResponse, error) {
	_, why, err := t.g.readiness(ctx, boundOf(ctx), in.GetName(), in.GetVersion())
	if problem.CodeOf(err) == problem.ModelNotFound {
		return &inferpb.ModelReadyResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &inferpb.ModelReadyResponse{Ready: why == nil}, nil
}

func (t *tellers) ModelMetadata(ctx context.Context, in *inferpb.ModelMetadataRequest) (*inferpb.ModelMetadataResponse, error) {
	m, err := t.g.describe(ctx, boundOf(ctx), in.GetName(), in.GetVersion())
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

func (t *tellers) ModelStatistics(ctx context.Context, in *inferpb.ModelStatisticsRequest) (*inferpb.ModelStatisticsResponse, error) {
	stats, err := t.g.collect(ctx, boundOf(ctx), in.GetName(), in.GetVersion())
	if err != nil {
		return nil, err
	}
	out := &inferpb.ModelStatisticsResponse{}
	for _, s := range stats {
		row := &inferpb.ModelStatistics{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(s.row, row); err != nil {
			return nil, problem.New(problem.BadGateway, "the function's statistics cannot be read: %w", unspoken{err})
		}
		out.ModelStats = append(out.ModelStats, row)
	}
	return out, nil
}

func (t *tellers) RepositoryIndex(ctx context.Context, in *inferpb.RepositoryIndexRequest) (*inferpb.RepositoryIndexResponse, error) {
	out := &inferpb.RepositoryIndexResponse{}
	if in.GetRepositoryName() != "" { // there is one, without a name
		return out, nil
	}
	rows, err := t.g.repositoryIndex(ctx, boundOf(ctx), in.GetReady())
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out.Models = append(out.Models, &inferpb.RepositoryIndexResponse_ModelIndex{Name: r.Name, Version: r.Version, State: r.State, Reason: r.Reason})
	}
	return out, nil
}

func (t *tellers) RepositoryModelLoad(ctx context.Context, in *inferpb.RepositoryModelLoadRequest) (*inferpb.RepositoryModelLoadResponse, error) {
	for name := range in.GetParameters() {
		return nil, infer.LoadParameter(name)
	}
	if err := t.g.loadModel(ctx, boundOf(ctx), in.GetModelName()); err != nil {
		return nil, err
	}
	return &inferpb.RepositoryModelLoadResponse{}, nil
}

func (t *tellers) RepositoryModelUnload(ctx context.Context, in *inferpb.RepositoryModelUnloadRequest) (*inferpb.RepositoryModelUnloadResponse, error) {
	if err := t.g.unloadModel(ctx, boundOf(ctx), in.GetModelName()); err != nil {
		return nil, err
	}
	return &inferpb.RepositoryModelUnloadResponse{}, nil
}
