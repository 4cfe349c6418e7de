package v2

import (
	"strings"

	rpc "github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// Operation is what an endpoint or a procedure of the protocol does, as call.Call has
// it: the pattern of its URL without a version. Of another procedure it is its path.
func Operation(pattern string) string {
	const model = "/v2/models/{model}"
	switch pattern {
	case rpc.GRPCInferenceServiceModelInferProcedure, rpc.GRPCInferenceServiceModelStreamInferProcedure:
		return model + "/infer"
	case rpc.GRPCInferenceServiceModelMetadataProcedure:
		return model
	case rpc.GRPCInferenceServiceModelConfigProcedure:
		return model + "/config"
	case rpc.GRPCInferenceServiceModelReadyProcedure:
		return model + "/ready"
	case rpc.GRPCInferenceServiceModelStatisticsProcedure:
		return model + "/stats"
	case rpc.GRPCInferenceServiceRepositoryModelLoadProcedure:
		return "/v2/repository/models/{model}/load"
	case rpc.GRPCInferenceServiceRepositoryModelUnloadProcedure:
		return "/v2/repository/models/{model}/unload"
	case rpc.GRPCInferenceServiceRepositoryIndexProcedure:
		return "/v2/repository/index"
	case rpc.GRPCInferenceServiceServerMetadataProcedure:
		return "/v2"
	case rpc.GRPCInferenceServiceServerLiveProcedure:
		return "/v2/health/live"
	case rpc.GRPCInferenceServiceServerReadyProcedure:
		return "/v2/health/ready"
	default:
		return strings.Replace(pattern, "/versions/{version}", "", 1)
	}
}
