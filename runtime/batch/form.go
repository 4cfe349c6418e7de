package batch

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// batchAxis is the only axis along which requests are joined, the protocol's.
const batchAxis = 0

// form is what decides whom a request may share a run with.
type form struct {
	// key is equal for requests that may share a run; its first shape bytes are
	// equal for those that cost the same, whoever sends them.
	key   []byte
	shape int

	rows   int    // along the batch axis; 1 where there is none
	rest   uint64 // of its kind
	joins  bool   // whether the request may share a run at all
	ragged bool   // with requests of other lengths
}

// maxShared bounds the bytes of an input without a batch axis that is compared
// between requests. Those with more run alone.
const maxShared = 64 << 10

// formOf reads the form of a request, into buf as far as it has room.
//
// That rows are independent was shown of requests that leave optional inputs to
// their defaults, and none of whose inputs is empty; others run alone.
//
// The tenant is part of every key: rows of two tenants share no run, for what
// native code makes of rows together is known from ONNX Runtime alone.
func (q *Queue) formOf(buf []byte, req *infer.Request, wanted []string) form {
	sig, inputs := q.m.Signature, req.Inputs
	exact := q.rules.exact.Load() || !provenFor(sig, inputs) // lengths that differ are not joined
	f := form{key: append(buf, 0), rows: 1, rest: q.restOf(inputs)}
	if exact {
		f.key[0] = 1 // no class is one of before
	}
	axis := sig.BatchAxis != nil && *sig.BatchAxis == batchAxis
	f.joins = axis
	rows := int64(-1)
	lengths := [8]int64{} // of ragged axes, as they come
	ragged := 0
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		t := find(inputs, spec.Name)
		if t == nil {
			f.key = append(f.key, 0)
			continue
		}
		f.key = binary.AppendUvarint(append(f.key, 1), uint64(len(t.Shape)))
		batched := axis && !spec.Unbatched && len(t.Shape) > 0
		size := int64(1)
		for d, n := range t.Shape {
			switch {
			case batched && d == batchAxis:
				if rows >= 0 && rows != n {
					f.joins = false // the model may know what to make of it
				}
				rows = n
				continue
			case batched && spec.Ragged != nil && d == spec.Ragged.Axis && !exact:
				// Axes of one length, such as tokens and their mask, must be so in
				// each request: padding would hide where one's are not.
				same := 0
				for same < ragged && lengths[same] != n {
					same++
				}
				if same == ragged && ragged < len(lengths) {
					lengths[ragged] = n
					ragged++
				}
				size *= n
				f.ragged = true
				f.key = binary.AppendUvarint(append(f.key, byte(same)), uint64(rounded(n)))
				continue
			}
			size *= n
			f.key = binary.AppendUvarint(f.key, uint64(n))
		}
		f.joins = f.joins && !spec.Optional && size > 0
	}
	for _, name := range wanted {
		f.key = append(binary.AppendUvarint(f.key, uint64(len(name))), name...)
	}
	if !f.joins || rows <= 0 {
		f.joins = false
		if axis { // it has as many rows as its shape has, of which nothing else is known
			f.key = appendRows(f.key, sig, inputs)
		}
		f.shape = len(f.key)
		f.key = append(f.key, 0)
	} else {
		f.rows = int(min(rows, 1<<30))
		f.shape = len(f.key)
		f.key = append(f.key, 1)
		f = f.withShared(sig, inputs)
	}
	f.key = append(f.key, req.Tenant...)
	return f
}

// appendRows adds how many rows each input has.
func appendRows(key []byte, sig *infer.Signature, inputs []infer.Tensor) []byte {
	for i := range sig.Inputs {
		if t := find(inputs, sig.Inputs[i].Name); t != nil && len(t.Shape) > batchAxis {
			key = binary.AppendUvarint(key, uint64(t.Shape[batchAxis]))
		}
	}
	return key
}

// withShared is the form with what requests must have equal, the inputs without a
// batch axis. By a pointer to f, the key's memory would be on the heap.
func (f form) withShared(sig *infer.Signature, inputs []infer.Tensor) form {
	for i := range sig.Inputs {
		if !sig.Inputs[i].Unbatched {
			continue
		}
		t := find(inputs, sig.Inputs[i].Name)
		switch {
		case t == nil:
		case len(t.Data) <= sha256.Size:
			f.key = append(binary.AppendUvarint(f.key, uint64(len(t.Data))), t.Data...)
		case len(t.Data) <= maxShared:
			sum := sha256.Sum256(t.Data)
			f.key = append(binary.AppendUvarint(f.key, uint64(len(t.Data))), sum[:]...)
		default:
			f.joins = false
			f.key[f.shape] = 0
		}
	}
	return f
}

// rounded is the class of sizes that may be padded to one another: 1, 2, 3, 4,
// 6, 8, 12, 16, … so that padding is at most a third.
func rounded(n int64) int64 {
	if n <= 2 {
		return max(n, 0)
	}
	power := int64(1) << (bits.Len64(uint64(n-1)) - 1) // the largest power of two below n
	if n <= power+power/2 {
		return power + power/2
	}
	return 2 * power
}

// find is the input of a name; nil without one.
func find(tensors []infer.Tensor, name string) *infer.Tensor {
	for i := range tensors {
		if tensors[i].Name == name {
			return &tensors[i]
		}
	}
	return nil
}

// most is how many rows of this form a run may have, by the signature's bounds
// on a request: they bound what a run takes.
func (q *Queue) most(f *form, inputs []infer.Tensor) int {
	if !f.joins || q.m.MaxRows == 1 {
		return 1
	}
	most := int64(maxRows)
	if q.m.MaxRows > 0 {
		most = int64(q.m.MaxRows)
	}
	sig := q.m.Signature
	for i := range sig.Inputs {
		spec := &sig.Inputs[i]
		t := find(inputs, spec.Name)
		if t == nil || spec.Unbatched {
			continue
		}
		if len(spec.MaxShape) > batchAxis && spec.MaxShape[batchAxis] > 0 {
			most = min(most, spec.MaxShape[batchAxis])
		}
		if per := t.Elements() / int64(f.rows); sig.MaxElements > 0 && per > 0 {
			most = min(most, sig.MaxElements/per)
		}
	}
	return int(max(most, 1))
}
