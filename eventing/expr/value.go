package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// maxDepth is how deep values lie in each other.
const maxDepth = 100

// maxValues is how many values may lie in one that is read: each takes some 100 bytes
// beside its text, and an object more.
const maxValues = 1_000_000

var errValues = fmt.Errorf("expected at most %d values within it: %w", maxValues, ErrLimit)

// exact is the largest whole floating-point number below which all are.
const exact = 1 << 53

var errDepth = fmt.Errorf("expected at most %d levels", maxDepth)

// decode makes a value of JSON. Errors repeat none of it.
func decode(text []byte) (ref.Val, error) {
	d := decoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(text)), rest: maxValues} // of a Buffer it reads without a copy
	value, err := d.next(0)
	if err != nil {
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("invalid at byte %d", syntax.ByteOffset)
		}
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("expected one value, and nothing behind byte %d", d.InputOffset())
	}
	return value, nil
}

type decoder struct {
	*jsontext.Decoder
	rest int // how many more values there may be
}

func (d *decoder) next(depth int) (ref.Val, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	if d.rest--; d.rest < 0 {
		return nil, errValues
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return types.NullValue, nil
	case 't', 'f':
		return types.Bool(token.Bool()), nil
	case '"':
		return types.String(token.String()), nil
	case '0':
		return number(token.String())
	case '[':
		elements := []ref.Val{}
		for d.PeekKind() != ']' {
			element, err := d.next(depth + 1)
			if err != nil {
				return nil, err
			}
			elements = append(elements, element)
		}
		_, err := d.ReadToken()
		return newList(elements), err
	default:
		members := []member{}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			m := member{name: name.String()}
			if m.value, err = d.next(depth + 1); err != nil {
				return nil, err
			}
			members = append(members, m)
		}
		_, err := d.ReadToken()
		return newObject(members), err
	}
}

// number is an integer where it is whole, however it is written.
func number(text string) (ref.Val, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return types.Int(n), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, errors.New("a number is out of range")
	}
	if f == math.Trunc(f) && math.Abs(f) < exact {
		return types.Int(f), nil
	}
	return types.Double(f), nil
}

// encode is a value as JSON of at most so many bytes.
func encode(value ref.Val, most int) ([]byte, error) {
	e := encoder{most: most}
	if err := e.value(value, 0); err != nil {
		return nil, err
	}
	if len(e.out) > most {
		return nil, ErrLimit
	}
	return e.out, nil
}

type encoder struct {
	out  []byte
	most int
}

func (e *encoder) value(value ref.Val, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if len(e.out) > e.most {
		return ErrLimit
	}
	var err error
	switch v := value.(type) {
	case types.Null:
		e.out = append(e.out, "null"...)
	case types.Bool:
		e.out = strconv.AppendBool(e.out, bool(v))
	case types.Int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case types.Uint:
		e.out = strconv.AppendUint(e.out, uint64(v), 10)
	case types.Double:
		return e.number(float64(v))
	case types.String:
		return e.text(string(v))
	case types.Bytes:
		return e.text(base64.StdEncoding.EncodeToString(v))
	case types.Timestamp:
		return e.text(v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return e.text(strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s")
	case traits.Lister:
		return e.list(v, depth)
	case traits.Mapper:
		return e.object(v, depth)
	default:
		err = fmt.Errorf("expected a value that JSON can express, got %s", kindOf(value))
	}
	return err
}

func (e *encoder) number(f float64) error {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return errNumber
	case f == math.Trunc(f) && math.Abs(f) < exact:
		e.out = strconv.AppendInt(e.out, int64(f), 10)
	default:
		text, err := json.Marshal(f)
		if err != nil {
			return errNumber
		}
		e.out = append(e.out, text...)
	}
	return nil
}

func (e *encoder) text(text string) error {
	if len(e.out)+len(text) > e.most {
		return ErrLimit
	}
	var err error
	if e.out, err = jsontext.AppendQuote(e.out, text); err != nil {
		return errors.New("expected text in UTF-8")
	}
	return nil
}

func (e *encoder) list(l traits.Lister, depth int) error {
	e.out = append(e.out, '[')
	for i := range length(l) {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if err := e.value(l.Get(types.Int(i)), depth+1); err != nil {
			return err
		}
	}
	e.out = append(e.out, ']')
	return nil
}

func (e *encoder) object(m traits.Mapper, depth int) error {
	names := make([]string, 0, length(m))
	for next := m.Iterator(); next.HasNext() == types.True; {
		name, ok := next.Next().(types.String)
		if !ok {
			return errors.New("expected an object whose names are strings")
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	e.out = append(e.out, '{')
	for i, name := range names {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if err := e.text(name); err != nil {
			return err
		}
		e.out = append(e.out, ':')
		if err := e.value(m.Get(types.String(name)), depth+1); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

// kindOf is what a value is, as readers of JSON say.
func kindOf(value ref.Val) string {
	switch value.(type) {
	case types.Null:
		return "null"
	case types.Bool:
		return "a boolean"
	case types.Int, types.Uint, types.Double:
		return "a number"
	case types.String:
		return "a string"
	case traits.Lister:
		return "a list"
	case traits.Mapper:
		return "an object"
	default:
		return value.Type().TypeName()
	}
}
