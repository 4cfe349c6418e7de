package infer

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// requestParameters reads a request's parameters; those the protocol gives a
// meaning go into fields of their own.
func (d *decoder) requestParameters(req *Request) error {
	return d.object(at("parameters"), func(name string) error {
		if absent, err := d.absent(true); absent || err != nil {
			return err
		}
		path := at("parameters").member("." + name)
		switch name {
		case "timeout":
			µs, err := d.natural(path, "a number of microseconds")
			req.Timeout = microseconds(µs)
			return err
		case "priority":
			p, err := d.natural(path, "a priority")
			req.Priority = uint64(p)
			return err
		case "binary_data_output":
			return d.boolean(path, &req.BinaryOutput)
		}
		v, err := d.parameter(path)
		if err == nil {
			err = d.charge(memberBytes)
		}
		if err == nil {
			req.Parameters = req.Parameters.with(name, v)
		}
		return err
	})
}

// microseconds makes a Duration of a number of µs; one too large for it is the
// longest there is, some 292 years.
func microseconds(µs int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Microsecond)
	return time.Duration(min(µs, most)) * time.Microsecond
}

// requestedOutputs reads the names of the outputs wanted.
func (d *decoder) requestedOutputs(req *Request) error {
	return d.array(at("outputs"), maxTensors, func(_ int, path where) error {
		var out RequestedOutput
		named := false
		err := d.object(path, func(name string) error {
			if absent, err := d.absent(name != "name"); absent || err != nil {
				return err
			}
			switch name {
			case "name":
				named = true
				return d.text(path.member(".name"), &out.Name)
			case "parameters":
				return d.outputParameters(path.member(".parameters"), &out)
			default:
				return d.skip()
			}
		})
		if err == nil && !named {
			err = problem.Invalid(path.member(".name").String(), "expected the name of an output; it is missing")
		}
		req.Outputs = append(req.Outputs, out)
		return err
	})
}

func (d *decoder) outputParameters(path where, out *RequestedOutput) error {
	return d.object(path, func(name string) error {
		if absent, err := d.absent(true); absent || err != nil {
			return err
		}
		field := path.member("." + name)
		switch name {
		case "binary_data":
			out.Binary = new(bool)
			return d.boolean(field, out.Binary)
		case "classification":
			n, err := d.natural(field, "a number of classes")
			if err == nil && n > 0 {
				err = unsupported(field.String(), "the classification extension")
			}
			return err
		default:
			if err := refuseShared(field, name); err != nil {
				return err
			}
			_, err := d.parameter(field)
			return err
		}
	})
}

// unsupported refuses an extension of the protocol that is not served here.
func unsupported(path, what string) error {
	e := problem.Invalid(path, "%s is not supported", what)
	e.Code = problem.Unimplemented
	return e
}

// refuseShared refuses Triton's shared memory parameters: the memory named is
// on another machine.
func refuseShared(path where, name string) error {
	if strings.HasPrefix(name, "shared_memory_") {
		return unsupported(path.String(), "shared memory")
	}
	return nil
}

// parameter reads one parameter: a bool, int64, float64 or string. An integer
// that no int64 holds is a float64, as it is to most readers of JSON.
func (d *decoder) parameter(path where) (any, error) {
	switch d.json.PeekKind() {
	case '{', '[', 'n':
		return nil, d.unexpected(path, "a boolean, number or string")
	default:
	}
	switch d.json.PeekKind() {
	case '"':
		return d.readString()
	case '0':
		return d.number(path)
	default:
	}
	token, err := d.json.ReadToken()
	if err != nil {
		return nil, d.syntax(err)
	}
	return token.Bool(), nil
}

// number reads a number: an int64 where it is one, else a float64.
func (d *decoder) number(path where) (any, error) {
	text, err := d.readNumber(path.String)
	if err != nil {
		return nil, err
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && text != "-0" {
		return i, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, problem.Invalid(path.String(), "%s is out of range", excerpt([]byte(text)))
	}
	return f, nil
}

// float reads a number that means nothing, within float64's range.
func (d *decoder) float() (float64, error) {
	path := func() string { return problem.Path(d.json.StackPointer().Tokens()) }
	text, err := d.readNumber(path)
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, problem.Invalid(path(), "%s is out of range", quote(text))
	}
	return f, nil
}

// mostNumber bounds a number's text, in bytes. Who parses one copies it, and again for
// each error, so that one of megabytes took three times as much. The longest double that
// is written exactly has 1,079.
const mostNumber = 2048

// readNumber reads a number's text, which is valid until the next is read.
func (d *decoder) readNumber(path func() string) (string, error) {
	text, err := d.json.ReadValue()
	if err != nil {
		return "", d.syntax(err)
	}
	if len(text) > mostNumber {
		return "", problem.Invalid(path(), "expected a number of at most %d characters; got %s", mostNumber, excerpt(text))
	}
	return view(text), nil
}

// natural reads an integer that is not negative. In JSON 1, 1.0 and 1e0 are one
// number (RFC 8259, 6; JSON Schema, 6.1.1).
func (d *decoder) natural(path where, what string) (int64, error) {
	if got := d.json.PeekKind(); got != '0' && got != 0 {
		return 0, d.unexpected(path, what)
	}
	text, err := d.readNumber(path.String)
	if err != nil {
		return 0, err
	}
	n, ok := wholeNumber(text)
	if !ok || n < 0 {
		return 0, problem.Invalid(path.String(), "expected %s, an integer from 0 to %d; got %s", what, int64(math.MaxInt64), excerpt([]byte(text)))
	}
	return n, nil
}

// wholeNumber is a JSON number's value, where that is an int64.
func wholeNumber(text string) (int64, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	// Whatever the length of the text, and what it stands for, are bounded.
	const mostText, mostExponent = 128, 64
	if len(text) > mostText {
		return 0, false
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(exponent); err != nil || n > mostExponent || n < -mostExponent {
			return 0, false
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}

// boolean reads true or false.
func (d *decoder) boolean(path where, into *bool) error {
	switch d.json.PeekKind() {
	case 't', 'f', 0:
	default:
		return d.unexpected(path, "true or false")
	}
	token, err := d.json.ReadToken()
	if err != nil {
		return d.syntax(err)
	}
	*into = token.Bool()
	return nil
}

// with sets one parameter, making the map when it is the first.
func (p Parameters) with(name string, value any) Parameters {
	if p == nil {
		p = Parameters{}
	}
	p[name] = value
	return p
}
