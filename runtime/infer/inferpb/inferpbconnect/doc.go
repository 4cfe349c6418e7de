// Package inferpbconnect holds the generated handlers and clients of the Open
// Inference Protocol's gRPC service, by connect-go. It is generated whole but
// for this comment.
package inferpbconnect
