package main

import (
	"strconv"

	"github.com/modelserveai/modelserve/problem"
)

// grpcNames are the names of the gRPC statuses, by number
// (https://grpc.io/docs/guides/status-codes/).
func grpcNames() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}

func problemsPage() []byte {
	p := newPage("Problems", `Every failure has one of these codes, the same over HTTP and gRPC. Switch on the code; the sentence beside it (`+"`detail`"+`) is for people and may change.

Below `+"`/v2`"+` a failure is the Open Inference Protocol's object, `+"`{\"error\", \"code\", \"request_id\", \"errors\"}`"+`; elsewhere it is `+"`application/problem+json`"+` (RFC 9457) with `+"`type`, `title`, `status`, `detail`, `code`, `request_id`, `errors`"+`. `+"`errors`"+` lists bad fields as `+"`{\"field\", \"detail\"}`"+`. `+"`limit`"+` names the limit that refused, where one did. Where it is worth calling again, `+"`Retry-After`"+` is in how many seconds.

Over gRPC the status' details hold the same: the code is the `+"`reason`"+` of a `+"`google.rpc.ErrorInfo`"+` of the domain `+"`modelserve.dev`"+`, fields are in a `+"`BadRequest`"+`, the time in a `+"`RetryInfo`"+`.`)
	var rows [][]string
	for _, c := range problem.Codes() {
		r := c.Row()
		rows = append(rows, []string{code(string(c)), strconv.Itoa(r.Status), grpcNames()[r.GRPC], r.Cause, r.Cure})
	}
	p.table([]string{"code", "HTTP", "gRPC", "cause", "cure"}, rows)
	return p.bytes()
}
