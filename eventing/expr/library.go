package expr

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// library are the functions that are ours: those of CEL's extensions for strings and
// lists, with a bound on what they make before they make it; and arithmetic, in which
// integers and other numbers meet, for JSON has one kind of number and 1.0 is read as 1.
type library struct {
	most int // bytes of what is made
	cost int // of one call, which is known before it
}

// maxPattern bounds a regular expression, in bytes.
const maxPattern = 1000

// maxSeparated bounds the parts that a string is split into, and the numbers of a range.
const maxSeparated = 100_000

func refuse(reason string) ref.Val { return types.WrapErr(refusal(reason)) }

func (l library) functions() []cel.EnvOption {
	text, whole, list := cel.StringType, cel.IntType, cel.ListType(cel.TypeParamType("T"))
	texts := cel.ListType(text)
	member := func(name, id string, args []*cel.Type, result *cel.Type, f functions.FunctionOp) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload(id, args, result, cel.FunctionBinding(f)))
	}
	return append(l.arithmetic(),
		cel.Function("matches",
			cel.Overload(overloads.Matches, []*cel.Type{text, text}, cel.BoolType),
			cel.MemberOverload(overloads.MatchesString, []*cel.Type{text, text}, cel.BoolType),
			cel.SingletonBinaryBinding(l.matches)),
		member("lowerAscii", "string_lower_ascii", []*cel.Type{text}, text, mapped(lower)),
		member("upperAscii", "string_upper_ascii", []*cel.Type{text}, text, mapped(upper)),
		member("trim", "string_trim", []*cel.Type{text}, text, mapped(strings.TrimSpace)),
		member("indexOf", "string_index_of_string", []*cel.Type{text, text}, whole, indexOf(strings.Index)),
		member("lastIndexOf", "string_last_index_of_string", []*cel.Type{text, text}, whole, indexOf(strings.LastIndex)),
		member("charAt", "string_char_at_int", []*cel.Type{text, whole}, text, charAt),
		member("replace", "string_replace_string_string", []*cel.Type{text, text, text}, text, l.replace),
		member("split", "string_split_string", []*cel.Type{text, text}, texts, l.split),
		cel.Function("substring",
			cel.MemberOverload("string_substring_int", []*cel.Type{text, whole}, text, cel.FunctionBinding(substring)),
			cel.MemberOverload("string_substring_int_int", []*cel.Type{text, whole, whole}, text, cel.FunctionBinding(substring))),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{texts}, text, cel.FunctionBinding(l.join)),
			cel.MemberOverload("list_join_string", []*cel.Type{texts, text}, text, cel.FunctionBinding(l.join))),
		member("slice", "list_slice", []*cel.Type{list, whole, whole}, list, slice),
		member("reverse", "list_reverse", []*cel.Type{list}, list, reverse),
		member("flatten", "list_flatten", []*cel.Type{cel.ListType(list)}, list, l.flatten),
		member("distinct", "list_distinct", []*cel.Type{list}, list, l.distinct),
		member("sort", "list_sort", []*cel.Type{list}, list, sorted),
		cel.Function("lists.range", cel.Overload("lists_range", []*cel.Type{whole}, cel.ListType(whole), cel.FunctionBinding(count))),
	)
}

// arithmetic are + - * / of CEL, and of an integer with another number.
func (l library) arithmetic() []cel.EnvOption {
	number := func(name, of string, f functions.BinaryOp, more ...cel.FunctionOpt) cel.EnvOption {
		options := []cel.FunctionOpt{
			cel.Overload(of+"_int64", []*cel.Type{cel.IntType, cel.IntType}, cel.IntType),
			cel.Overload(of+"_uint64", []*cel.Type{cel.UintType, cel.UintType}, cel.UintType),
			cel.Overload(of+"_double", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType),
			cel.Overload(of+"_int64_double", []*cel.Type{cel.IntType, cel.DoubleType}, cel.DoubleType),
			cel.Overload(of+"_double_int64", []*cel.Type{cel.DoubleType, cel.IntType}, cel.DoubleType),
		}
		return cel.Function(name, append(append(options, more...), cel.SingletonBinaryBinding(mixed(f)))...)
	}
	duration, instant := cel.DurationType, cel.TimestampType
	list := cel.ListType(cel.TypeParamType("A"))
	return []cel.EnvOption{
		number(operators.Add, "add", l.add,
			cel.Overload(overloads.AddBytes, []*cel.Type{cel.BytesType, cel.BytesType}, cel.BytesType),
			cel.Overload(overloads.AddString, []*cel.Type{cel.StringType, cel.StringType}, cel.StringType),
			cel.Overload(overloads.AddList, []*cel.Type{list, list}, list),
			cel.Overload(overloads.AddDurationDuration, []*cel.Type{duration, duration}, duration),
			cel.Overload(overloads.AddDurationTimestamp, []*cel.Type{duration, instant}, instant),
			cel.Overload(overloads.AddTimestampDuration, []*cel.Type{instant, duration}, instant)),
		number(operators.Subtract, "subtract", func(a, b ref.Val) ref.Val {
			if s, ok := a.(traits.Subtractor); ok {
				return s.Subtract(b)
			}
			return types.MaybeNoSuchOverloadErr(a)
		},
			cel.Overload(overloads.SubtractDurationDuration, []*cel.Type{duration, duration}, duration),
			cel.Overload(overloads.SubtractTimestampDuration, []*cel.Type{instant, duration}, instant),
			cel.Overload(overloads.SubtractTimestampTimestamp, []*cel.Type{instant, instant}, duration)),
		number(operators.Multiply, "multiply", func(a, b ref.Val) ref.Val {
			if m, ok := a.(traits.Multiplier); ok {
				return m.Multiply(b)
			}
			return types.MaybeNoSuchOverloadErr(a)
		}),
		number(operators.Divide, "divide", func(a, b ref.Val) ref.Val {
			if d, ok := a.(traits.Divider); ok {
				return d.Divide(b)
			}
			return types.MaybeNoSuchOverloadErr(a)
		}),
	}
}

// mixed makes of an integer that meets another number one of its kind.
func mixed(f functions.BinaryOp) functions.BinaryOp {
	return func(a, b ref.Val) ref.Val {
		switch x := a.(type) {
		case types.Int:
			if _, ok := b.(types.Double); ok {
				return f(types.Double(x), b)
			}
		case types.Double:
			if y, ok := b.(types.Int); ok {
				return f(a, types.Double(y))
			}
		}
		return f(a, b)
	}
}

// add is + of numbers, strings, bytes, lists and times.
func (l library) add(a, b ref.Val) ref.Val {
	other, isList := b.(traits.Lister)
	switch x := a.(type) {
	case *bag:
		if !isList {
			return types.MaybeNoSuchOverloadErr(b)
		}
		if !x.put(other, l.most) {
			return types.WrapErr(errWeight)
		}
		return x
	case traits.MutableLister: // the empty one that a macro begins with
		return l.add(&bag{Lister: types.NewRefValList(types.DefaultTypeAdapter, nil), weight: 2}, b)
	case traits.Lister:
		if !isList {
			return types.MaybeNoSuchOverloadErr(b)
		}
		if sum(weightOf(a), weightOf(b)) > l.most {
			return types.WrapErr(errWeight)
		}
		return newList(append(elementsOf(x), elementsOf(other)...))
	case types.String, types.Bytes:
		if sum(weightOf(a), weightOf(b)) > l.most {
			return types.WrapErr(errWeight)
		}
	}
	if adder, ok := a.(traits.Adder); ok {
		return adder.Add(b)
	}
	return types.MaybeNoSuchOverloadErr(a)
}

func (l library) matches(a, b ref.Val) ref.Val {
	text, ok := a.(types.String)
	pattern, also := b.(types.String)
	if !ok || !also {
		return types.MaybeNoSuchOverloadErr(b)
	}
	if len(pattern) > maxPattern {
		return refuse("expected a regular expression of at most 1000 bytes")
	}
	if size := patternSize(string(pattern)); size > maxProgram || matchCost(len(text), size) > l.cost {
		return types.WrapErr(errCost)
	}
	compiled, err := regexp.Compile(string(pattern))
	if err != nil {
		return refuse("expected a regular expression (RE2)")
	}
	return types.Bool(compiled.MatchString(string(text)))
}

// maxProgram bounds what regular expressions become, in instructions, of all literals of a
// text together: Go makes up to 3 million of one, of 40 bytes each (regexp/syntax).
const maxProgram = 10_000

// patternSize is the size of a regular expression once its counted repetitions are written
// out, since a{0,1000} takes as long as a thousand letters. It compiles nothing.
func patternSize(pattern string) int {
	size := len(pattern)
	if tree, err := syntax.Parse(pattern, syntax.Perl); err == nil { // else compiling it says what is wrong
		size = max(size, writtenOut(tree))
	}
	return size
}

// matchCost is what a match of so many bytes costs.
func matchCost(text, pattern int) int { return (1 + text/bytesPerCost) * (1 + pattern/4) }

// writtenOut is about how many instructions an expression becomes. Parsing bounds its
// depth, and what repetitions within each other multiply to.
func writtenOut(e *syntax.Regexp) int {
	size := max(1, len(e.Rune))
	if e.Op == syntax.OpCharClass {
		size = 1
	}
	for _, part := range e.Sub {
		size = sum(size, writtenOut(part))
	}
	if e.Op == syntax.OpRepeat {
		size *= max(e.Min, e.Max, 1)
	}
	return size
}

// strung calls f with the strings that the arguments are.
func strung(args []ref.Val, f func(texts []string) ref.Val) ref.Val {
	texts := make([]string, len(args))
	for i, arg := range args {
		text, ok := arg.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(arg)
		}
		texts[i] = string(text)
	}
	return f(texts)
}

func mapped(f func(string) string) functions.FunctionOp {
	return func(args ...ref.Val) ref.Val {
		return strung(args, func(t []string) ref.Val { return types.String(f(t[0])) })
	}
}

func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

func upper(text string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, text)
}

// indexOf counts in characters; -1 is not there.
func indexOf(f func(text, part string) int) functions.FunctionOp {
	return func(args ...ref.Val) ref.Val {
		return strung(args, func(t []string) ref.Val {
			at := f(t[0], t[1])
			if at < 0 {
				return types.Int(-1)
			}
			return types.Int(len([]rune(t[0][:at])))
		})
	}
}

func charAt(args ...ref.Val) ref.Val {
	text, ok := args[0].(types.String)
	at, also := args[1].(types.Int)
	if !ok || !also {
		return types.MaybeNoSuchOverloadErr(args[1])
	}
	runes := []rune(string(text))
	if at < 0 || int64(at) >= int64(len(runes)) {
		return refuse("the string has no such character")
	}
	return types.String(runes[at])
}

func substring(args ...ref.Val) ref.Val {
	text, ok := args[0].(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	runes := []rune(string(text))
	from, to, ok := between(args[1:], len(runes))
	if !ok {
		return refuse("the string has no such characters")
	}
	return types.String(runes[from:to])
}

// between are a start and, where there is one, an end within a length.
func between(args []ref.Val, length int) (from, to int, ok bool) {
	bounds := [2]int{0, length}
	for i, arg := range args {
		n, isInt := arg.(types.Int)
		if !isInt || n < 0 || int64(n) > int64(length) {
			return 0, 0, false
		}
		bounds[i] = int(n)
	}
	return bounds[0], bounds[1], bounds[0] <= bounds[1]
}

func (l library) replace(args ...ref.Val) ref.Val {
	return strung(args, func(t []string) ref.Val {
		text, from, to := t[0], t[1], t[2]
		if n := strings.Count(text, from); len(to) > 0 && n > (l.most-min(len(text), l.most))/len(to) {
			return types.WrapErr(errWeight)
		}
		return types.String(strings.ReplaceAll(text, from, to))
	})
}

func (l library) split(args ...ref.Val) ref.Val {
	return strung(args, func(t []string) ref.Val {
		parts := strings.SplitN(t[0], t[1], maxSeparated+1)
		if len(parts) > maxSeparated {
			return types.WrapErr(errWeight)
		}
		elements := make([]ref.Val, len(parts))
		for i, part := range parts {
			elements[i] = types.String(part)
		}
		return limited(newList(elements), l.most)
	})
}

func (l library) join(args ...ref.Val) ref.Val {
	texts, ok := args[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	separator := types.String("")
	if len(args) == 2 {
		if separator, ok = args[1].(types.String); !ok {
			return types.MaybeNoSuchOverloadErr(args[1])
		}
	}
	parts := make([]string, length(texts))
	size := 0
	for i := range parts {
		part, ok := texts.Get(types.Int(i)).(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(texts.Get(types.Int(i)))
		}
		if size = sum(size, len(part), len(separator)); size > l.most {
			return types.WrapErr(errWeight)
		}
		parts[i] = string(part)
	}
	return types.String(strings.Join(parts, string(separator)))
}

// listed calls f with the elements that the first argument is, which f may change.
func listed(args []ref.Val, f func(elements []ref.Val) ref.Val) ref.Val {
	l, ok := args[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	return f(elementsOf(l))
}

func slice(args ...ref.Val) ref.Val {
	return listed(args, func(elements []ref.Val) ref.Val {
		from, to, ok := between(args[1:], len(elements))
		if !ok {
			return refuse("the list has no such elements")
		}
		return newList(elements[from:to])
	})
}

func reverse(args ...ref.Val) ref.Val {
	return listed(args, func(elements []ref.Val) ref.Val {
		slices.Reverse(elements)
		return newList(elements)
	})
}

// flatten makes one list of the elements of lists.
func (l library) flatten(args ...ref.Val) ref.Val {
	return listed(args, func(elements []ref.Val) ref.Val {
		out, weight := []ref.Val{}, 0
		for _, element := range elements {
			inner, ok := element.(traits.Lister)
			if !ok {
				out = append(out, element)
				continue
			}
			if weight = sum(weight, weightOf(inner)); weight > l.most {
				return types.WrapErr(errWeight)
			}
			out = append(out, elementsOf(inner)...)
		}
		return newList(out)
	})
}

// maxCompared bounds a list of which each element is compared with each.
const maxCompared = 1000

func (l library) distinct(args ...ref.Val) ref.Val {
	return listed(args, func(elements []ref.Val) ref.Val {
		if len(elements) > maxCompared {
			return refuse("expected a list of at most 1000 elements")
		}
		if distinctCost(len(elements), args[0]) > l.cost {
			return types.WrapErr(errCost)
		}
		out := []ref.Val{}
		for _, element := range elements {
			if !slices.ContainsFunc(out, func(o ref.Val) bool { return types.Equal(o, element) == types.True }) {
				out = append(out, element)
			}
		}
		return newList(out)
	})
}

// distinctCost is of comparing each element of a list with each.
func distinctCost(elements int, list ref.Val) int {
	return 1 + elements*(1+weightOf(list)/bytesPerCost)
}

// sorted sorts what can be compared, ascending.
func sorted(args ...ref.Val) ref.Val {
	return listed(args, func(elements []ref.Val) ref.Val {
		ordered := true
		slices.SortStableFunc(elements, func(a, b ref.Val) int {
			c, ok := a.(traits.Comparer)
			if !ok {
				ordered = false
				return 0
			}
			order, ok := c.Compare(b).(types.Int)
			ordered = ordered && ok
			return int(order)
		})
		if !ordered {
			return refuse("expected a list whose elements can be compared")
		}
		return newList(elements)
	})
}

// count are the numbers from 0.
func count(args ...ref.Val) ref.Val {
	n, ok := args[0].(types.Int)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	if n < 0 || n > maxSeparated {
		return refuse("expected a range of 0 to 100000")
	}
	elements := make([]ref.Val, n)
	for i := range elements {
		elements[i] = types.Int(i)
	}
	return newList(elements)
}
