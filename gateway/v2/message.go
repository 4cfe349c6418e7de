package v2

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/problem"
)

// A message is forwarded as it came: its tensors are never decoded here, and pass while
// they come. These are the fields that hold where it goes, and its timeout.
// ModelInferRequest and ModelConfigRequest have the first two alike.
const (
	fieldName       protowire.Number = 1
	fieldVersion    protowire.Number = 2
	fieldID         protowire.Number = 3
	fieldParameters protowire.Number = 4
)

// address is what a message holds of its model.
type address struct {
	name, version, id string
	timeout           time.Duration // 0: none
}

// mostAddress bounds what is kept of a field here, in bytes: fields are copied beside
// the message, and nothing is charged for that.
const mostAddress = 16 << 10

// addressOf reads a message's fields as a decoder would: the whole message is
// looked at, of a field that comes twice the last counts, and one of another
// wire type does not. Of an id longer than mostAddress it has "".
func addressOf(m grpcwire.Message) (address, error) {
	var a address
	for rest := []byte(m); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return a, malformed()
		}
		rest = rest[n:]
		if kind != protowire.BytesType || number > fieldParameters {
			if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
				return a, malformed()
			}
			rest = rest[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(rest)
		if n < 0 {
			return a, malformed()
		}
		rest = rest[n:]
		if number != fieldParameters && len(value) > mostAddress {
			if number != fieldID {
				return a, problem.Invalid("model_name", "expected a model's name and version of at most %d bytes; got %d", mostAddress, len(value))
			}
			value = nil
		}
		switch number {
		case fieldName:
			a.name = string(value)
		case fieldVersion:
			a.version = string(value)
		case fieldID:
			a.id = string(value)
		default: // parameters
			if timeout := timeoutOf(value); timeout > 0 {
				a.timeout = timeout
			}
		}
	}
	return a, nil
}

// The fields of a parameter, which is an entry of a map, and of an InferParameter.
const (
	fieldKey    protowire.Number = 1
	fieldValue  protowire.Number = 2
	fieldInt64  protowire.Number = 2
	fieldUint64 protowire.Number = 5
)

// timeoutOf is the request's timeout, where a parameter is that; a wrong one
// its function reports.
func timeoutOf(parameter []byte) time.Duration {
	var key, value []byte
	fields(parameter, func(number protowire.Number, field []byte, _ uint64) {
		switch number {
		case fieldKey:
			key = field
		case fieldValue:
			value = field
		default: // no part of a map's entry
		}
	})
	if string(key) != "timeout" {
		return 0
	}
	var µs int64
	fields(value, func(number protowire.Number, field []byte, n uint64) {
		if field == nil && (number == fieldInt64 || number == fieldUint64) {
			µs = int64(min(n, math.MaxInt64)) // a negative one is larger
		}
	})
	return time.Duration(min(µs, int64(forward.MaxTimeout/time.Microsecond))) * time.Microsecond
}

// fields calls field for the fields of a message that are bytes, or else numbers of
// variable length, as far as it can be read.
func fields(message []byte, field func(number protowire.Number, bytes []byte, n uint64)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		switch kind {
		case protowire.BytesType:
			var value []byte
			if value, n = protowire.ConsumeBytes(message); n >= 0 {
				field(number, value, 0)
			}
		case protowire.VarintType:
			var value uint64
			if value, n = protowire.ConsumeVarint(message); n >= 0 {
				field(number, nil, value)
			}
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return
		}
		message = message[n:]
	}
}

func malformed() error {
	return problem.New(problem.MalformedBody, "the message is not protobuf of its type")
}

// withVersion is a message for another version: of a field that comes twice the
// last counts.
func withVersion(m grpcwire.Message, version string) grpcwire.Message {
	return protowire.AppendString(protowire.AppendTag(m, fieldVersion, protowire.BytesType), version)
}
