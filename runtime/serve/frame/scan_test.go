package frame_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve/frame"
)

// place is where fields of a message may stand in a request.
type place struct {
	name    string
	request protoreflect.MessageType
	of      protoreflect.MessageDescriptor
	around  []protowire.Number // the fields of the messages around it
}

// message is a request with fields at the place.
func (p place) message(fields []byte) []byte {
	for i := len(p.around) - 1; i >= 0; i-- {
		fields = protowire.AppendBytes(protowire.AppendTag(nil, p.around[i], protowire.BytesType), fields)
	}
	return fields
}

// places are those of all requests of the service.
func places(t testing.TB) []place {
	t.Helper()
	var all []place
	methods := inferpb.File_inferpb_grpc_service_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		of := methods.Get(i).Input()
		request, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
		if err != nil {
			t.Fatal(err)
		}
		todo := []place{{string(of.Name()), request, of, nil}}
		for len(todo) > 0 {
			p := todo[0]
			todo, all = todo[1:], append(all, p)
			for i := range p.of.Fields().Len() {
				if f := p.of.Fields().Get(i); f.Message() != nil {
					inner := append(append([]protowire.Number{}, p.around...), f.Number())
					todo = append(todo, place{p.name + "." + string(f.Name()), request, f.Message(), inner})
				}
			}
		}
	}
	return all
}

// values are fields of a number, of each type on the wire but groups.
func values(n protowire.Number) map[string][]byte {
	const size = 32 << 10
	field := func(kind protowire.Type, value ...byte) []byte {
		return append(protowire.AppendTag(nil, n, kind), value...)
	}
	large := protowire.AppendBytes(field(protowire.BytesType), make([]byte, size))
	return map[string][]byte{
		"varints":  bytes.Repeat(field(protowire.VarintType, 1), size/2),
		"fixed32":  bytes.Repeat(field(protowire.Fixed32Type, 0, 0, 0, 1), size/5),
		"fixed64":  bytes.Repeat(field(protowire.Fixed64Type, 0, 0, 0, 0, 0, 0, 0, 1), size/9),
		"bytes":    large,
		"no bytes": bytes.Repeat(field(protowire.BytesType, 0), 4),
		"pieces":   bytes.Repeat(large, 4),
	}
}

// kept is what a message holds beside its structs and pointers, in bytes.
func kept(m protoreflect.Message) int64 {
	n := int64(cap(m.GetUnknown()))
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				n += int64(len(k.String())) + keptOf(f.MapValue(), v)
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				n += keptOf(f, v.List().Get(i))
			}
		default:
			n += keptOf(f, v)
		}
		return true
	})
	return n
}

func keptOf(f protoreflect.FieldDescriptor, v protoreflect.Value) int64 {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return kept(v.Message())
	case protoreflect.StringKind:
		return 16 + int64(len(v.String()))
	case protoreflect.BytesKind:
		return 24 + int64(len(v.Bytes()))
	case protoreflect.BoolKind:
		return 1
	case protoreflect.FloatKind, protoreflect.Int32Kind, protoreflect.Uint32Kind:
		return 4
	default:
		return 8
	}
}

// holdsBound fails where a request keeps more once it is decoded than was scanned.
func holdsBound(t *testing.T, request protoreflect.MessageType, data []byte) {
	t.Helper()
	bound, err := frame.Scan(request.Descriptor(), data)
	if err != nil {
		return // it is not decoded
	}
	m := request.New()
	_ = proto.Unmarshal(data, m.Interface()) // what a fault leaves is held as well
	const itself = 128
	if got := kept(m); got > bound+itself {
		t.Errorf("%d bytes of a %s keep %d decoded, %d are charged", len(data), request.Descriptor().Name(), got, bound)
	}
}

// TestScanCountsEveryFieldAsEveryType holds that of each field of each message, and of one
// that is unknown, what is kept is charged, whatever it is on the wire: of another type
// than its own it is kept as it came.
func TestScanCountsEveryFieldAsEveryType(t *testing.T) {
	t.Parallel()
	for _, p := range places(t) {
		numbers := []protowire.Number{99}
		for i := range p.of.Fields().Len() {
			numbers = append(numbers, p.of.Fields().Get(i).Number())
		}
		for _, number := range numbers {
			for kind, fields := range values(number) {
				t.Run(fmt.Sprintf("%s, field %d, %s", p.name, number, kind), func(t *testing.T) {
					t.Parallel()
					holdsBound(t, p.request, p.message(fields))
				})
			}
		}
	}
}

// TestGroupsAreRefused holds that no group is decoded, wherever it stands: protobuf-go
// keeps them whole.
func TestGroupsAreRefused(t *testing.T) {
	t.Parallel()
	for _, p := range places(t) {
		for number := range protowire.Number(10) {
			group := protowire.AppendTag(nil, number+1, protowire.StartGroupType)
			group = append(group, "\x0a\x03abc"...)
			group = protowire.AppendTag(group, number+1, protowire.EndGroupType)
			if _, err := frame.Scan(p.request.Descriptor(), p.message(group)); problem.CodeOf(err) != problem.InvalidArgument {
				t.Errorf("%s, field %d: %v", p.name, number+1, err)
			}
		}
	}
}

// TestPiecesOfPiecesAreCounted holds that a packed field has as many pieces as all parts of
// its message together have.
func TestPiecesOfPiecesAreCounted(t *testing.T) {
	t.Parallel()
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	numbers := field(3, []byte{1, 2})
	contents := func(pieces, parts int) []byte {
		return bytes.Repeat(field(5, bytes.Repeat(numbers, pieces)), parts)
	}
	for name, tc := range map[string]struct {
		message []byte
		refused bool
	}{
		"four":                 {field(5, contents(4, 1)), false},
		"one in each of four":  {field(5, contents(1, 4)), false},
		"two in each of two":   {field(5, contents(2, 2)), false},
		"two in each of three": {field(5, contents(2, 3)), true},
		"four in each of four": {field(5, contents(4, 4)), true},
		"four in two inputs":   {append(field(5, contents(4, 1)), field(5, contents(4, 1))...), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := frame.Scan(request(), tc.message); (problem.CodeOf(err) == problem.InvalidArgument) != tc.refused {
				t.Errorf("got %v", err)
			}
		})
	}
}

// FuzzScan looks for a request that keeps more than what Scan says.
func FuzzScan(f *testing.F) {
	types := map[byte]protoreflect.MessageType{}
	for _, p := range places(f) {
		if len(p.around) == 0 {
			types[byte(len(types))] = p.request
		}
		number := byte(len(types) - 1)
		for i := range p.of.Fields().Len() {
			for _, fields := range values(p.of.Fields().Get(i).Number()) {
				f.Add(number, p.message(fields[:min(len(fields), 20)]))
			}
		}
	}
	for _, data := range attacks() {
		f.Add(byte(0), data[:min(len(data), 1000)])
	}
	f.Fuzz(func(t *testing.T, number byte, data []byte) {
		holdsBound(t, types[number%byte(len(types))], data)
	})
}
