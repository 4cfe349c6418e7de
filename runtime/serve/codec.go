package serve

import (
	"cmp"
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/modelserveai/modelserve/internal/nice"
)

// protobuf is the RPC library's codec of messages, which decodes and encodes large ones
// beside those of others. Whose a message is it does not know: all of them have a turn.
type protobuf struct{ large *nice.Threads }

// Name implements connect.Codec.
func (protobuf) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (p protobuf) Marshal(message any) ([]byte, error) { return p.MarshalAppend(nil, message) }

// MarshalAppend is Marshal behind what is in to, for the RPC library's own buffers.
func (p protobuf) MarshalAppend(to []byte, message any) (data []byte, err error) {
	m, err := protoOf(message)
	if err != nil {
		return nil, err
	}
	err = p.do(proto.Size(m), func() (err error) {
		data, err = proto.MarshalOptions{}.MarshalAppend(to, m)
		return err //nolint:wrapcheck // the RPC library says what it was
	})
	return data, err
}

// Unmarshal implements connect.Codec.
func (p protobuf) Unmarshal(data []byte, message any) error {
	m, err := protoOf(message)
	if err != nil {
		return err
	}
	if err := p.do(len(data), func() error { return proto.Unmarshal(data, m) }); err != nil {
		return fmt.Errorf("unmarshal into %T: %w", message, err)
	}
	return nil
}

func (p protobuf) do(bytes int, f func() error) (err error) {
	failed := p.large.For(context.Background(), "").Of(bytes, func() { err = f() })
	return cmp.Or(failed, err) // read once f has run: the order within one expression is open
}

func protoOf(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("expected a protobuf message; got %T", message)
	}
	return m, nil
}
