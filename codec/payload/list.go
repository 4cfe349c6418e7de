package payload

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// MaxList is the most elements a List takes.
const MaxList = 1000

// List is a JSON array that stops reading at MaxList elements, before they
// cost memory. An absent one and null are nil, an empty one is not.
type List[T any] []T

// UnmarshalJSONFrom reads the array.
func (l *List[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	field := problem.Path(dec.StackPointer().Tokens())
	switch kind := dec.PeekKind(); kind {
	case 'n':
		*l = nil
		return dec.SkipValue()
	case '[':
	default: // an object is not read: the reader would keep its names
		return problem.Invalid(field, "got a JSON %s; expected an array", kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*l = List[T]{}
	for kind := dec.PeekKind(); kind != ']'; kind = dec.PeekKind() {
		if kind == 0 { // the next read returns what is wrong
			_, err := dec.ReadToken()
			return err
		}
		if len(*l) == MaxList {
			return problem.Invalid(field, "more than %d elements; send them in parts", MaxList)
		}
		var element T
		if err := json.UnmarshalDecode(dec, &element); err != nil {
			return err
		}
		*l = append(*l, element)
	}
	_, err := dec.ReadToken()
	return err
}
