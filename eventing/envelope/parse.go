package envelope

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// wireIn is how an envelope is read.
type wireIn struct {
	Input   jsontext.Value `json:"input"`
	Event   jsontext.Value `json:"event"`
	Steps   named          `json:"steps"`
	Item    jsontext.Value `json:"item"`
	Index   *int           `json:"index"`
	Claims  list[string]   `json:"claims"`
	Plans   named          `json:"plans"`
	Records list[recordIn] `json:"records"`
}

// recordIn is a Record, of which each member is required.
type recordIn Record

// Parse reads an envelope, strictly: unknown and duplicate names, values beyond their
// bounds and claim checks of what is not there are refused. Errors are problems that
// name the field: problem.MalformedBody where it is no JSON, problem.PayloadTooLarge,
// and else problem.InvalidArgument.
func Parse(data []byte) (*Envelope, error) {
	if len(data) > MaxEnvelope {
		return nil, problem.New(problem.PayloadTooLarge, "expected an envelope of at most %d bytes, got %d", MaxEnvelope, len(data))
	}
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	var in wireIn
	if err := jsonv2.Unmarshal(data, &in, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, fault(err)
	}
	if in.Input == nil {
		return nil, problem.Invalid(inputName, "missing; expected the execution's input")
	}
	if (in.Item == nil) != (in.Index == nil) {
		return nil, problem.Invalid("index", "expected item and index together, or neither")
	}
	e := &Envelope{Event: json.RawMessage(in.Event)}
	claims := map[string]bool{}
	for i, name := range in.Claims {
		if claims[name] {
			return nil, problem.Invalid(fmt.Sprintf("claims[%d]", i), "named twice; expected each name once")
		}
		claims[name] = true
	}
	take := func(name string, text jsontext.Value) (Value, error) {
		if !claims[name] {
			return Value{JSON: json.RawMessage(text)}, nil
		}
		delete(claims, name)
		return claimOf(name, text)
	}
	var err error
	if e.Input, err = take(inputName, in.Input); err != nil {
		return nil, err
	}
	if in.Item != nil {
		item, err := take(itemName, in.Item)
		if err != nil {
			return nil, err
		}
		e.Item, e.Index = &item, *in.Index
	}
	for name, text := range in.Steps {
		if e.Steps == nil {
			e.Steps = make(map[string]Value, len(in.Steps))
		}
		if e.Steps[name], err = take(stepsName+name, text); err != nil {
			return nil, err
		}
	}
	for i, name := range in.Claims {
		if claims[name] {
			return nil, problem.Invalid(fmt.Sprintf("claims[%d]", i), "expected input, item or steps.NAME of a value that is there")
		}
	}
	for hash, text := range in.Plans {
		if e.Plans == nil {
			e.Plans = make(map[string]json.RawMessage, len(in.Plans))
		}
		e.Plans[hash] = json.RawMessage(text)
	}
	for _, r := range in.Records {
		e.Records = append(e.Records, Record(r))
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

// check holds an envelope to its rules.
func (e *Envelope) check() error {
	if err := e.Input.check(inputName); err != nil {
		return err
	}
	if e.Event != nil && jsontext.Value(e.Event).Kind() != '{' {
		return problem.Invalid("event", "expected an object, the attributes of an event")
	}
	if e.Index < 0 || e.Item == nil && e.Index != 0 {
		return problem.Invalid("index", "expected the number of an item, from 0")
	}
	if e.Item != nil {
		if err := e.Item.check(itemName); err != nil {
			return err
		}
	}
	if err := most("steps", len(e.Steps)); err != nil {
		return err
	}
	for name, v := range e.Steps {
		if !IsStep(name) {
			return problem.Invalid("steps", "expected the names of steps, 1 to 63 letters, digits, '-' and '_'; got %.64q", name)
		}
		if err := v.check(stepsName + name); err != nil {
			return err
		}
	}
	if err := most("plans", len(e.Plans)); err != nil {
		return err
	}
	for hash, text := range e.Plans {
		if !isSHA256(hash) || jsontext.Value(text).Kind() != '{' {
			return problem.Invalid("plans", "expected plans, which are objects, by their SHA-256 in hexadecimal; got %.64q", hash)
		}
	}
	if err := most("records", len(e.Records)); err != nil {
		return err
	}
	for i := range e.Records {
		if err := e.Records[i].check(fmt.Sprintf("records[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func most(field string, n int) error {
	if n > MaxSteps {
		return problem.Invalid(field, "expected at most %d, got %d", MaxSteps, n)
	}
	return nil
}

func (v Value) check(name string) error {
	switch {
	case (v.JSON == nil) == (v.Claim == nil):
		return problem.Invalid(name, "expected a value or a claim check")
	case v.Claim != nil:
		return v.Claim.check(name)
	case len(v.JSON) > MaxInline:
		return tooLong(name, len(v.JSON))
	default:
		return nil
	}
}

// maxRef is how long a reference may be, in bytes: a key of S3 and its bucket.
const maxRef = 1200

func (c *Claim) check(name string) error {
	switch {
	case !strings.HasPrefix(c.Ref, "s3://") || len(c.Ref) > maxRef:
		return problem.Invalid(name+".ref", "expected s3://BUCKET/KEY of at most %d bytes", maxRef)
	case !isSHA256(c.SHA256):
		return problem.Invalid(name+".sha256", "expected 64 digits of lower-case hexadecimal")
	case c.Size < 0:
		return problem.Invalid(name+".size", "expected its bytes, 0 or more")
	case len(c.ContentType) > 255:
		return problem.Invalid(name+".content_type", "expected a media type")
	default:
		return nil
	}
}

func (r *Record) check(field string) error {
	switch {
	case !IsStep(r.Step):
		return problem.Invalid(field+".step", "expected a step's name")
	case r.Epoch < 0 || r.Rows < 0 || r.Size < 0:
		return problem.Invalid(field, "expected epoch, rows and size of 0 or more")
	case math.IsNaN(r.ComputeMS) || math.IsInf(r.ComputeMS, 0) || r.ComputeMS < 0:
		return problem.Invalid(field+".compute_ms", "expected milliseconds, 0 or more")
	case r.StartedAt.IsZero() || r.FinishedAt.IsZero():
		return problem.Invalid(field, "expected started_at and finished_at")
	case len(r.Model) > 255 || len(r.Device) > 63:
		return problem.Invalid(field, "expected a model of at most 255 bytes, and a device of at most 63")
	default:
		return nil
	}
}

func isSHA256(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == 64 && strings.ToLower(text) == text
}

// claimOf reads a value that is a claim check.
func claimOf(name string, text jsontext.Value) (Value, error) {
	c := new(Claim)
	if err := jsonv2.Unmarshal(text, c, jsonv2.RejectUnknownMembers(true)); err != nil {
		p := fault(err)
		return Value{}, problem.Invalid(name, "expected a claim check {\"ref\", \"sha256\", \"size\", \"content_type\"}: %s", p.Detail)
	}
	return Value{Claim: c}, nil
}

// named are values by name, MaxSteps at most.
type named map[string]jsontext.Value

// UnmarshalJSONFrom reads the object.
func (n *named) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	field := problem.Path(dec.StackPointer().Tokens())
	if kind := dec.PeekKind(); kind != '{' {
		return problem.Invalid(field, "got a JSON %s; expected an object", kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*n = named{}
	for kind := dec.PeekKind(); kind != '}' && kind != 0; kind = dec.PeekKind() {
		if len(*n) == MaxSteps {
			return problem.Invalid(field, "expected at most %d", MaxSteps)
		}
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		(*n)[name] = value.Clone()
	}
	_, err := dec.ReadToken()
	return err
}

// list is an array of MaxSteps elements at most.
type list[T any] []T

// UnmarshalJSONFrom reads the array.
func (l *list[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	field := problem.Path(dec.StackPointer().Tokens())
	if kind := dec.PeekKind(); kind != '[' {
		return problem.Invalid(field, "got a JSON %s; expected an array", kind)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for kind := dec.PeekKind(); kind != ']' && kind != 0; kind = dec.PeekKind() {
		if len(*l) == MaxSteps {
			return problem.Invalid(field, "expected at most %d", MaxSteps)
		}
		var element T
		if err := jsonv2.UnmarshalDecode(dec, &element, jsonv2.RejectUnknownMembers(true)); err != nil {
			return err
		}
		*l = append(*l, element)
	}
	_, err := dec.ReadToken()
	return err
}

// fault describes what the JSON reader found wrong.
func fault(err error) *problem.Error {
	var semantic *jsonv2.SemanticError
	var syntactic *jsontext.SyntacticError
	var known *problem.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return problem.Invalid(problem.Path(syntactic.JSONPointer.Tokens()), "named twice; expected each name once")
	case errors.As(err, &syntactic):
		return problem.New(problem.MalformedBody, "the envelope is no JSON at byte %d", syntactic.ByteOffset)
	case errors.As(err, &semantic) && errors.Is(err, jsonv2.ErrUnknownName):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "no such field")
	case errors.As(err, &semantic):
		return problem.Invalid(problem.Path(semantic.JSONPointer.Tokens()), "got a JSON %s; expected another kind of value", semantic.JSONKind)
	default:
		return problem.New(problem.MalformedBody, "the envelope is no JSON object")
	}
}

// checkDepth refuses brackets that open deeper than MaxDepth within a value, which is
// three levels down at most.
func checkDepth(data []byte) error {
	const levels = 3
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if depth++; depth > MaxDepth+levels {
				return problem.New(problem.MalformedBody, "the envelope nests deeper than %d at byte %d", MaxDepth, i)
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return nil
}
