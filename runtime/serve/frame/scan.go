package frame

import (
	"encoding/binary"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modelserveai/modelserve/problem"
)

// MaxMessages bounds the repeated messages in one message, those of maps counted.
const MaxMessages = 1024

// maxPieces bounds the parts in which one field may come that is no list of messages, also
// where they are in parts of the message around it: for each part of a packed one
// protobuf-go copies all those before it, so that 350,000 of them, 1 MiB, took minutes
// (TestScanCountsWhatDecodingTakes).
const maxPieces = 4

// What protobuf-go takes for what it decodes, in bytes: a message's struct with the
// pointer to it, and a map's entry; a slice's element with what growing the slice
// leaves behind; what a string or bytes have beside their own.
const (
	messageBytes = 256
	elementBytes = 16
	headerBytes  = 64
)

// Scan bounds what a message of a type takes once it is decoded, in bytes, without
// decoding it. One with too many repeated messages is problem.InvalidArgument, named
// by its field, and so is one with a group, which no message of the protocol has. Of what
// is no protobuf it counts what stands before the fault: there the decoder ends as well.
func Scan(of protoreflect.MessageDescriptor, data []byte) (int64, error) {
	var s scan
	err := s.message(of, data, &pieces{}, 0)
	return s.bytes, err
}

type scan struct {
	bytes    int64
	messages int
}

// pieces counts those of one message's fields, in all the parts in which it comes.
type pieces struct {
	of     [32]byte // the fields with the lowest numbers, and the others together
	within map[protowire.Number]*pieces
}

// add counts a piece of a field, and reports whether it was one too many.
func (p *pieces) add(number protowire.Number) bool {
	n := &p.of[min(int(number), len(p.of)-1)]
	*n++
	return *n > maxPieces
}

// inside are those of a field's value: the same for all pieces of a message of which
// there is one.
func (p *pieces) inside(f protoreflect.FieldDescriptor) *pieces {
	if !isWhole(f) {
		return &pieces{}
	}
	in := p.within[f.Number()]
	if in == nil {
		in = &pieces{}
		if p.within == nil {
			p.within = map[protowire.Number]*pieces{}
		}
		p.within[f.Number()] = in
	}
	return in
}

func (s *scan) message(of protoreflect.MessageDescriptor, data []byte, came *pieces, depth int) error {
	fields := of.Fields()
	for len(data) > 0 {
		number, kind, head := protowire.ConsumeTag(data)
		if head < 0 {
			return nil
		}
		if kind == protowire.StartGroupType {
			return problem.Invalid("message", "expected no groups, which the protocol has none of; field %d is one", number)
		}
		size := protowire.ConsumeFieldValue(number, kind, data[head:])
		if size < 0 {
			return nil
		}
		value := data[head : head+size]
		data = data[head+size:]
		field := fields.ByNumber(number)
		if field == nil || !isOf(field, kind) {
			s.bytes += 2 * int64(head+size) // it is kept as it is
			continue
		}
		if kind == protowire.BytesType && isWhole(field) && came.add(number) {
			return problem.Invalid(string(field.Name()), "expected it in one piece; got it in more than %d", maxPieces)
		}
		if err := s.value(field, kind, value, came, depth); err != nil {
			return err
		}
	}
	return nil
}

// isOf reports whether a field's values have a type on the wire. All others are kept as
// fields that are not known.
func isOf(f protoreflect.FieldDescriptor, kind protowire.Type) bool {
	own := protowire.VarintType
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.BytesKind:
		return kind == protowire.BytesType
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		own = protowire.Fixed32Type
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		own = protowire.Fixed64Type
	default:
	}
	return kind == own || kind == protowire.BytesType && f.IsList() // packed
}

// isWhole reports whether a field with a length before it comes once: a message of
// which there is one, or packed numbers.
func isWhole(f protoreflect.FieldDescriptor) bool {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return f.Cardinality() != protoreflect.Repeated
	case protoreflect.StringKind, protoreflect.BytesKind:
		return false
	default:
		return true
	}
}

func (s *scan) value(f protoreflect.FieldDescriptor, kind protowire.Type, value []byte, came *pieces, depth int) error {
	if kind != protowire.BytesType {
		s.bytes += elementBytes
		return nil
	}
	value, _ = protowire.ConsumeBytes(value)
	switch f.Kind() {
	case protoreflect.MessageKind:
		if s.bytes += messageBytes; f.IsList() || f.IsMap() {
			if s.messages++; s.messages > MaxMessages {
				return problem.Invalid(string(f.Name()), "expected a message that has at most %d others in it", MaxMessages)
			}
		}
		return s.message(f.Message(), value, came.inside(f), depth+1)
	case protoreflect.StringKind, protoreflect.BytesKind:
		s.bytes += headerBytes + int64(len(value))
		if f.IsList() && depth > 0 {
			s.bytes += int64(len(value)) // a tensor of BYTES is made of them
		}
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind,
		protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		s.bytes += headerBytes + int64(len(value))
	default:
		s.bytes += headerBytes + 8*varints(value)
	}
	return nil
}

// varints is how many there are: each has one byte without its highest bit.
func varints(data []byte) int64 {
	const highest = 0x8080808080808080
	n := 0
	for ; len(data) >= 8; data = data[8:] {
		n += bits.OnesCount64(^binary.LittleEndian.Uint64(data) & highest)
	}
	for _, b := range data {
		n += int(^b >> 7)
	}
	return int64(n)
}
