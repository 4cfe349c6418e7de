package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/problem"
)

// frame is a message handed on as it came. Its tensors are never decoded here:
// to route it three fields suffice.
type frame []byte

// body is the message as gRPC sends it, uncompressed.
func (f frame) body() io.ReadCloser {
	header := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(f)))
	return io.NopCloser(io.MultiReader(bytes.NewReader(header), bytes.NewReader(f)))
}

// The fields that tell where a message goes, and how long there is for it.
// ModelInferRequest and ModelConfigRequest have the first two alike.
const (
	fieldName       protowire.Number = 1
	fieldVersion    protowire.Number = 2
	fieldID         protowire.Number = 3
	fieldParameters protowire.Number = 4
)

// addressed is what a message says of its model.
type addressed struct {
	name, version, id string
	timeout           time.Duration // 0: none
}

// address reads a message's fields as a decoder would: the whole message is
// looked at, of a field that comes twice the last counts, and one of another
// wire type does not.
func (f frame) address() (addressed, error) {
	var a addressed
	for rest := []byte(f); len(rest) > 0; {
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

// timeoutOf is the request's timeout, where a parameter is that; of what is wrong
// with one, its function tells.
func timeoutOf(parameter []byte) time.Duration {
	var key, value []byte
	each(parameter, func(number protowire.Number, field []byte, _ uint64) {
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
	each(value, func(number protowire.Number, field []byte, n uint64) {
		if field == nil && (number == fieldInt64 || number == fieldUint64) {
			µs = int64(min(n, math.MaxInt64)) // a negative one is larger
		}
	})
	return time.Duration(min(µs, int64(maxTimeout/time.Microsecond))) * time.Microsecond
}

// maxTimeout is more than any request has.
const maxTimeout = 1000 * time.Hour

// each calls field for the fields of a message that are bytes, or else numbers of
// variable length, as far as it can be read.
func each(message []byte, field func(number protowire.Number, bytes []byte, n uint64)) {
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

// setVersion appends the version: the last one counts.
func (f *frame) setVersion(version string) {
	*f = protowire.AppendString(protowire.AppendTag(*f, fieldVersion, protowire.BytesType), version)
}

// room is left behind a message for setVersion.
const room = 32

// codec is protobuf that leaves frames alone.
type codec struct{}

// Name implements connect.Codec: it takes the place of connect's own.
func (codec) Name() string { return "proto" }

// Marshal implements connect.Codec. A frame's memory is connect's from then on.
func (codec) Marshal(message any) ([]byte, error) {
	switch m := message.(type) {
	case *frame:
		return *m, nil
	case proto.Message:
		return proto.Marshal(m)
	default:
		return nil, fmt.Errorf("marshal a %T: not a message", message)
	}
}

// Unmarshal implements connect.Codec. data is connect's, and is copied.
func (codec) Unmarshal(data []byte, message any) error {
	switch m := message.(type) {
	case *frame:
		*m = append(make(frame, 0, len(data)+room), data...)
		return nil
	case proto.Message:
		if err := proto.Unmarshal(data, m); err != nil {
			return errors.New("the message is not protobuf of its type")
		}
		return nil
	default:
		return fmt.Errorf("unmarshal a %T: not a message", message)
	}
}
