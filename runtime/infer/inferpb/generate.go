// Package inferpb is the generated gRPC form of the Open Inference Protocol:
// messages of protoc-gen-go, client and server stubs of connect-go.
//
// It converts nothing: serve turns these messages into infer's values.
package inferpb

// protoc is Debian's protobuf-compiler; both plugins are pinned in tools/go.mod.
//
//go:generate protoc -I .. --go_out=.. --go_opt=paths=source_relative --connect-go_out=.. --connect-go_opt=paths=source_relative,simple=true inferpb/grpc_service.proto inferpb/model_config.proto
