package gateway

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/internal/problem"
)

// frame is a message handed on as it came. Its tensors are never decoded here:
// to route it three fields suffice.
type frame []byte

// The fields that tell where a message goes. ModelInferRequest and
// ModelConfigRequest have the first two alike.
const (
	fieldName    protowire.Number = 1
	fieldVersion protowire.Number = 2
	fieldID      protowire.Number = 3
)

// addressed is what a message says of its model.
type addressed struct{ name, version, id string }

// address reads a message's fields as a decoder would: the whole message is
// looked at, of a field that comes twice the last counts, and one of another
// wire type does not.
func (f frame) address() (addressed, error) {
	var a addressed
	fields := [...]*string{fieldName: &a.name, fieldVersion: &a.version, fieldID: &a.id}
	for rest := []byte(f); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return a, malformed()
		}
		rest = rest[n:]
		if kind != protowire.BytesType || number > fieldID {
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
		*fields[number] = string(value)
	}
	return a, nil
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
