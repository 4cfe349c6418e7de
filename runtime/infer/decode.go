package infer

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// MaxDepth is how deep a JSON body may nest, its root counted.
const MaxDepth = 64

// maxRank bounds a tensor's axes; ONNX Runtime itself stops far below.
const maxRank = 64

// maxTensors bounds the tensors of one request or response.
const maxTensors = 1024

// Limits bound what decoding a body may take. The zero value bounds only the
// nesting: the body itself bounds the rest.
type Limits struct {
	// Elements bounds the elements of each tensor; 0 is no bound.
	Elements int64

	// Reserve, when set, is asked before memory is allocated for a tensor, a text or an
	// object's names, with its bytes. Its error ends the decoding.
	Reserve func(bytes int64) error
}

// DecodeRequest reads the body of a V2 REST infer request. headerLength is the
// Inference-Header-Content-Length: the bytes of JSON at the body's head, the
// rest being binary tensor data; NoHeader when the whole body is JSON.
//
// Binary tensors share body's memory where it is aligned to their element size
// (ReadBody sees to that), and are copied where it is not. Model and Version are
// not in the body, and left for the caller. Errors are problems that name the
// field by its JSON path. Members that the protocol does not know are skipped,
// and null stands for a member that may be left out.
func DecodeRequest(body []byte, headerLength int, limits Limits) (*Request, error) {
	d, err := newDecoder(body, headerLength, limits)
	if err != nil {
		return nil, err
	}
	req := &Request{}
	err = d.document(func(name string) error {
		if absent, err := d.absent(name != "inputs"); absent || err != nil {
			return err
		}
		switch name {
		case "id":
			return d.text(at("id"), &req.ID)
		case "parameters":
			return d.requestParameters(req)
		case "inputs":
			req.Inputs, err = d.tensors(at("inputs"))
			return err
		case "outputs":
			return d.requestedOutputs(req)
		default:
			return d.skip()
		}
	})
	if err != nil {
		return nil, err
	}
	return req, d.binary("inputs", req.Inputs)
}

// DecodeResponse reads the body of a V2 REST infer response, as DecodeRequest
// does a request's.
func DecodeResponse(body []byte, headerLength int, limits Limits) (*Response, error) {
	d, err := newDecoder(body, headerLength, limits)
	if err != nil {
		return nil, err
	}
	resp := &Response{}
	err = d.document(func(name string) error {
		if absent, err := d.absent(name != "outputs" && name != "model_name"); absent || err != nil {
			return err
		}
		switch name {
		case "model_name":
			return d.text(at(name), &resp.Model)
		case "model_version":
			return d.text(at(name), &resp.Version)
		case "id":
			return d.text(at(name), &resp.ID)
		case "parameters":
			return d.object(at(name), func(key string) error {
				if absent, err := d.absent(true); absent || err != nil {
					return err
				}
				v, err := d.parameter(at(name).member("." + key))
				if err == nil {
					resp.Parameters = resp.Parameters.with(key, v)
				}
				return err
			})
		case "outputs":
			resp.Outputs, err = d.tensors(at(name))
			return err
		default:
			return d.skip()
		}
	})
	if err != nil {
		return nil, err
	}
	return resp, d.binary("outputs", resp.Outputs)
}

// CheckJSON checks that text is one JSON value by the rules DecodeRequest keeps:
// no duplicate names, at most 1,024 members of an object, valid UTF-8, numbers within
// float64's range, nesting of at most MaxDepth. Errors are problems that name the field.
func CheckJSON(text []byte, limits Limits) error {
	d, err := newDecoder(text, NoHeader, limits)
	if err != nil {
		return err
	}
	if err := d.skip(); err != nil {
		return err
	}
	return d.end()
}

// WithoutMark is a JSON text without the byte order mark that some editors put
// at the head of UTF-8 (RFC 8259, 8.1, lets readers ignore it).
func WithoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// NoHeader is the header length of a body that is all JSON.
const NoHeader = -1

// decoder reads one body.
type decoder struct {
	json   *jsontext.Decoder
	rest   []byte // the binary section
	limits Limits
	sizes  []int64 // binary_data_size of each tensor; -1 when its data was in JSON
	isJSON bool    // the whole body is JSON
	credit int64   // bytes that were charged and are not used
}

func newDecoder(body []byte, headerLength int, limits Limits) (*decoder, error) {
	text, rest := body, []byte(nil)
	if headerLength != NoHeader {
		if headerLength < 0 || headerLength > len(body) {
			return nil, problem.New(problem.MalformedBody,
				"%s is %d, but the body has %d bytes", JSONLengthHeader, headerLength, len(body))
		}
		text, rest = body[:headerLength], body[headerLength:]
	}
	text = WithoutMark(text)
	if len(text) == 0 {
		return nil, problem.New(problem.MalformedBody, "expected JSON; the body is empty")
	}
	return &decoder{
		json:   tokenizer(text),
		rest:   rest,
		limits: limits,
		isJSON: headerLength == NoHeader,
	}, nil
}

// tokenizers are kept from body to body: what they hold by then is grown to
// what bodies need.
//
//nolint:gochecknoglobals // memory for any goroutine, as sync.Pool is for
var tokenizers = sync.Pool{New: func() any { return jsontext.NewDecoder(new(bytes.Buffer), options()) }}

func tokenizer(text []byte) *jsontext.Decoder {
	t := tokenizers.Get().(*jsontext.Decoder) //nolint:forcetypeassert // nothing else is put there
	t.Reset(bytes.NewBuffer(text), options())
	return t
}

// close gives the tokenizer back.
func (d *decoder) close() {
	d.json.Reset(new(bytes.Buffer), options()) // the body is not its own
	tokenizers.Put(d.json)
	d.json = nil
}

// document reads the one object a body is, and nothing behind it. It is the
// last that is read of it.
func (d *decoder) document(member func(name string) error) error {
	defer d.close()
	if err := d.object(at(""), member); err != nil {
		return err
	}
	return d.end()
}

// end checks that nothing follows the body's value.
func (d *decoder) end() error {
	switch _, err := d.json.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return d.syntax(err)
	default:
		return problem.New(problem.MalformedBody, "expected nothing behind the JSON value, but byte %d begins another value", d.json.InputOffset())
	}
}

// object reads an object and calls member with each name, which must read its
// value.
func (d *decoder) object(path where, member func(name string) error) error {
	if err := d.open(path, '{', "an object"); err != nil {
		return err
	}
	var seen memberSet
	for d.json.PeekKind() != '}' {
		if d.json.PeekKind() != '"' { // what is no name is the tokenizer's to refuse
			_, err := d.json.ReadToken()
			return d.syntax(err)
		}
		name, err := d.name()
		if err == nil {
			err = seen.add(d, name)
		}
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// array reads an array and calls element with each index and its path, which
// must read it.
func (d *decoder) array(path where, most int, element func(i int, path where) error) error {
	if err := d.open(path, '[', "an array"); err != nil {
		return err
	}
	for i := 0; d.json.PeekKind() != ']'; i++ {
		if i == most {
			return tooMany(path.String(), int64(most))
		}
		if err := element(i, path.of(i)); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// open reads the delimiter that begins an object or array.
func (d *decoder) open(path where, kind jsontext.Kind, what string) error {
	if got := d.json.PeekKind(); got != kind && got != 0 {
		return d.unexpected(path, what)
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	if d.json.StackDepth() > MaxDepth {
		return problem.Invalid(path.String(), "nested deeper than %d", MaxDepth)
	}
	return nil
}

// absent reads a null that stands for a member that may be left out.
func (d *decoder) absent(optional bool) (bool, error) {
	if !optional || d.json.PeekKind() != 'n' {
		return false, nil
	}
	if _, err := d.json.ReadToken(); err != nil {
		return false, d.syntax(err)
	}
	return true, nil
}

// unexpected is the fault of a value of another kind than what.
func (d *decoder) unexpected(path where, what string) error {
	value, err := d.json.ReadValue()
	if err != nil {
		return d.syntax(err)
	}
	return problem.Invalid(path.String(), "expected %s; got %s", what, excerpt(value))
}

// text reads a string.
func (d *decoder) text(path where, into *string) error {
	if got := d.json.PeekKind(); got != '"' && got != 0 {
		return d.unexpected(path, "a string")
	}
	var err error
	*into, err = d.readString()
	return err
}

// unquote is what a JSON string stands for, which is charged. The protocol's own names
// cost no memory.
func (d *decoder) unquote(quoted jsontext.Value) (string, error) {
	inner := quoted[1 : len(quoted)-1]
	plain := bytes.IndexByte(inner, '\\') < 0
	if plain {
		if name := known(inner); name != "" {
			return name, nil
		}
	}
	if len(inner) > smallText {
		if err := d.charge(len(inner)); err != nil {
			return "", err
		}
	}
	if plain {
		return string(inner), nil
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return "", d.syntax(err)
	}
	return string(text), nil
}

// known is text as a constant where it is a name that nearly every body has.
func known(text []byte) string {
	switch string(text) {
	case "inputs":
		return "inputs"
	case "outputs":
		return "outputs"
	case "name":
		return "name"
	case "datatype":
		return "datatype"
	case "shape":
		return "shape"
	case "data":
		return "data"
	case "parameters":
		return "parameters"
	case "binary_data_size":
		return "binary_data_size"
	case "binary_data_output":
		return "binary_data_output"
	case "id":
		return "id"
	}
	return string(dataType(text))
}

// syntax is the problem of a fault that the tokenizer found.
func (d *decoder) syntax(err error) error {
	var at *jsontext.SyntacticError
	if !errors.As(err, &at) {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return problem.New(problem.MalformedBody, "the JSON ends too early")
		}
		return problem.New(problem.MalformedBody, "the body is not JSON: %w", err)
	}
	detail := "not valid JSON"
	if at.Err != nil {
		detail = strings.TrimPrefix(at.Err.Error(), "jsontext: ")
	}
	if errors.Is(at.Err, io.ErrUnexpectedEOF) {
		detail = "the JSON ends too early"
	}
	path := problem.Path(at.JSONPointer.Tokens())
	e := problem.New(problem.MalformedBody, "%s: %s (at byte %d)", path, detail, at.ByteOffset)
	e.Fields = []problem.Field{{Field: path, Detail: detail}}
	return e
}
