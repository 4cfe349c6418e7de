package expr

import (
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// Values share their parts: a list that has another one twice is small, while whoever
// walks through it, to compare or to write it, walks twice, and a few dozen macros in a
// row make a walk of years. CEL's own cost counts the top of a value alone. So every
// list and object knows its weight, which is about the bytes of its JSON, none is made
// that weighs too much, and what walks is charged by weight.

// list is a list that knows its weight.
type list struct {
	traits.Lister
	weight int
}

// mapping is an object that an expression made, and that knows its weight.
type mapping struct {
	traits.Mapper
	weight int
}

// newList is a list of these elements, which are not to be changed.
func newList(elements []ref.Val) *list {
	weight := 2
	for _, element := range elements {
		weight = sum(weight, weightOf(element), 1)
	}
	return &list{types.NewRefValList(types.DefaultTypeAdapter, elements), weight}
}

func newMapping(m traits.Mapper) *mapping {
	weight := 2
	for next := m.Iterator(); next.HasNext() == types.True; {
		key := next.Next()
		weight = sum(weight, weightOf(key), weightOf(m.Get(key)), 2)
	}
	return &mapping{m, weight}
}

// sum is at most what an int holds.
func sum(numbers ...int) int {
	total := 0
	for _, n := range numbers {
		if total > math.MaxInt-n {
			return math.MaxInt
		}
		total += n
	}
	return total
}

// weightOf is about the bytes of a value's JSON.
func weightOf(value ref.Val) int {
	switch v := value.(type) {
	case *list:
		return v.weight
	case *mapping:
		return v.weight
	case *object:
		return v.weight
	case *bag: // is looked at once it is a list
		return 1
	case types.String:
		return len(v) + 2
	case types.Bytes:
		return len(v) + 2
	case traits.Lister: // of the language itself, as the empty one of a macro
		return newList(elementsOf(v)).weight
	case traits.Mapper:
		return newMapping(v).weight
	default:
		return 8
	}
}

// length is the number of elements of a list, or members of an object.
func length(s traits.Sizer) int {
	n, ok := s.Size().(types.Int)
	if !ok {
		return 0
	}
	return int(n)
}

// elementsOf are a list's, in a slice that may be appended to.
func elementsOf(l traits.Lister) []ref.Val {
	out := make([]ref.Val, length(l))
	for i := range out {
		out[i] = l.Get(types.Int(i))
	}
	return out
}

// bag is what a macro collects in: a list that grows in place.
type bag struct {
	traits.Lister // an empty one
	elements      []ref.Val
	weight        int
}

// ToImmutableList implements traits.MutableLister.
func (b *bag) ToImmutableList() traits.Lister {
	return &list{types.NewRefValList(types.DefaultTypeAdapter, b.elements), b.weight}
}

// put adds elements to the bag; false is over most.
func (b *bag) put(more traits.Lister, most int) bool {
	for i := range length(more) {
		element := more.Get(types.Int(i))
		b.weight = sum(b.weight, weightOf(element), 1)
		b.elements = append(b.elements, element)
	}
	return b.weight <= most
}

// weigher wraps what makes lists and objects.
func weigher(most int) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		if made, ok := i.(interpreter.InterpretableConstructor); ok {
			return &constructor{made, most}, nil
		}
		return i, nil
	}
}

// constructor makes a list or an object that knows its weight.
type constructor struct {
	interpreter.InterpretableConstructor
	most int
}

// Exec implements interpreter.InterpretableV2.
func (c *constructor) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	switch made := c.InterpretableConstructor.Exec(frame).(type) {
	case traits.Lister:
		return limited(newList(elementsOf(made)), c.most)
	case traits.Mapper:
		return limited(newMapping(made), c.most)
	default: // an error
		return made
	}
}

// Eval implements interpreter.Interpretable.
func (c *constructor) Eval(vars interpreter.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}

// limited is the value, or an error where it weighs too much.
func limited(value ref.Val, most int) ref.Val {
	if weightOf(value) > most {
		return types.WrapErr(errWeight)
	}
	return value
}

// costs charges calls by what they look at and make.
type costs struct{}

// bytesPerCost is how many bytes are looked at for a cost of one.
const bytesPerCost = 10

// CallCost implements interpreter.ActualCostEstimator.
func (costs) CallCost(_, overload string, args []ref.Val, result ref.Val) *uint64 {
	cost := 1
	switch overload {
	case "equals", "not_equals":
		cost = sum(cost, min(weightOf(args[0]), weightOf(args[1]))/bytesPerCost)
	case "in_list":
		cost = sum(cost, weightOf(args[1])/bytesPerCost)
	case "matches", "matches_string":
		text, _ := args[0].(types.String)
		pattern, _ := args[1].(types.String)
		cost = matchCost(len(text), patternSize(string(pattern)))
	case "list_distinct":
		if l, ok := args[0].(traits.Lister); ok { // each is compared with each
			cost = distinctCost(length(l), args[0])
		}
	case "list_sort":
		if l, ok := args[0].(traits.Lister); ok {
			cost = 1 + int(math.Log2(float64(length(l)+2)))*(1+weightOf(args[0])/bytesPerCost)
		}
	default:
		for _, value := range append(args[:len(args):len(args)], result) {
			switch v := value.(type) {
			case types.String:
				cost = sum(cost, len(v)/bytesPerCost)
			case types.Bytes:
				cost = sum(cost, len(v)/bytesPerCost)
			case *list:
				if !constant(overload) {
					cost = sum(cost, length(v)/bytesPerCost)
				}
			}
		}
	}
	charged := uint64(max(cost, 1))
	return &charged
}

// constant reports whether a function takes no longer for a longer list.
func constant(overload string) bool {
	return overload == "size_list" || overload == "list_size" || overload == "index_list"
}
