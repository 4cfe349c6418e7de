package v2

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/modelserveai/modelserve/problem"
)

// follower follows the fields of a message while its bytes pass. Protobuf's encoders
// write fields in the order of their numbers, so that where a message goes is known once
// a later field begins; a message that says so again behind that, which decoders would
// follow, is refused.
type follower struct {
	left   int64  // bytes of the message that have not passed
	skip   int64  // of them, those of the value that is passing
	reads  reads  // what the next byte is of
	number uint64 // as far as it has passed
	shift  uint   // its bits
	past   bool   // a field behind those of an address has begun
}

// reads is what a number of variable length is.
type reads int

const (
	readsTag reads = iota
	readsLength
	readsValue
)

// pass follows what comes next. An error ends the message.
func (f *follower) pass(p []byte) error {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, int64(len(p)))
			f.skip -= n
			f.left -= n
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		f.left--
		if f.shift == 63 && b > 1 {
			return malformed() // of more than 64 bits
		}
		f.number |= uint64(b&0x7f) << f.shift
		if b >= 0x80 {
			f.shift += 7
			continue
		}
		v := f.number
		f.number, f.shift = 0, 0
		if err := f.read(v); err != nil {
			return err
		}
	}
	return nil
}

// read takes a number that has passed.
func (f *follower) read(v uint64) error {
	switch f.reads {
	case readsTag:
		return f.tag(v)
	case readsLength:
		if v > uint64(max(f.left, 0)) {
			return malformed()
		}
		f.skip = int64(v)
	case readsValue:
	}
	f.reads = readsTag
	return nil
}

func (f *follower) tag(v uint64) error {
	number, kind := v>>3, protowire.Type(v&7)
	if number < uint64(protowire.MinValidNumber) || number > uint64(protowire.MaxValidNumber) {
		return malformed()
	}
	if number > uint64(fieldParameters) {
		f.past = true
	} else if f.past && (number == uint64(fieldName) || number == uint64(fieldVersion)) {
		return problem.Invalid("model_name", "expected a message larger than 16 KiB to have its model's name and version before its tensors, and nowhere else")
	}
	switch kind {
	case protowire.VarintType:
		f.reads = readsValue
	case protowire.BytesType:
		f.reads = readsLength
	case protowire.Fixed32Type:
		f.skip = 4
	case protowire.Fixed64Type:
		f.skip = 8
	default: // groups, which no message of the protocol has
		return malformed()
	}
	return nil
}
