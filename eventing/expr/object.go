package expr

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// object is an object of JSON that was read: its members by name, in a slice, since a
// map of Go takes several times the memory for the few that most have.
type object struct {
	members []member // by name
	weight  int
}

type member struct {
	name  string
	value ref.Val
}

// newObject is an object of these members, each of another name.
func newObject(members []member) *object {
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	weight := 2
	for _, m := range members {
		weight = sum(weight, len(m.name)+4, weightOf(m.value))
	}
	return &object{members: slices.Clip(members), weight: weight}
}

// ConvertToNative implements ref.Val. Nothing of ours asks for it.
func (o *object) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("an object of an expression is no value of Go")
}

// ConvertToType implements ref.Val.
func (o *object) ConvertToType(to ref.Type) ref.Val {
	switch to {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return refuse("an object cannot be converted")
}

// Equal implements ref.Val.
func (o *object) Equal(other ref.Val) ref.Val {
	m, ok := other.(traits.Mapper)
	if !ok || length(m) != len(o.members) {
		return types.False
	}
	for _, own := range o.members {
		value, found := m.Find(types.String(own.name))
		if !found || types.Equal(own.value, value) != types.True {
			return types.False
		}
	}
	return types.True
}

// Type implements ref.Val.
func (o *object) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (o *object) Value() any {
	out := make(map[string]any, len(o.members))
	for _, m := range o.members {
		out[m.name] = m.value
	}
	return out
}

// Contains implements traits.Container.
func (o *object) Contains(key ref.Val) ref.Val {
	_, found := o.Find(key)
	return types.Bool(found)
}

// Get implements traits.Indexer.
func (o *object) Get(key ref.Val) ref.Val {
	value, found := o.Find(key)
	if !found {
		return types.NewErr("no such key")
	}
	return value
}

// Find implements traits.Mapper.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	i, found := slices.BinarySearchFunc(o.members, string(name), func(m member, name string) int { return strings.Compare(m.name, name) })
	if !found {
		return nil, false
	}
	return o.members[i].value, true
}

// Iterator implements traits.Iterable: over the names, in order.
func (o *object) Iterator() traits.Iterator {
	names := make([]ref.Val, len(o.members))
	for i := range o.members {
		names[i] = types.String(o.members[i].name)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, names).Iterator()
}

// Size implements traits.Sizer.
func (o *object) Size() ref.Val { return types.Int(len(o.members)) }
