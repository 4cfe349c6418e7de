package payload

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// firstRead is how many bytes are taken from the memory budget before the size
// of a referenced input is known.
const firstRead = 64 << 10

// Source is an input inside a JSON form: a base64 string (RFC 4648, padded) or
// {"ref": "s3://…"}, which may also have content_type and size. Decoding a
// form only checks its shape; Bytes reads it.
// The zero Source is an absent one.
type Source struct {
	field      string
	ref        string
	start, end int64 // of the base64 string with its quotes, in the body
}

// Present reports whether the form had this source.
func (s *Source) Present() bool { return s.field != "" }

// UnmarshalJSONFrom reads the source's shape. It keeps the place of a base64
// string instead of a copy: images are most of the body.
func (s *Source) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch kind := dec.PeekKind(); kind {
	case '"':
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		s.end = dec.InputOffset()
		s.start = s.end - int64(len(value))
		s.field = problem.Path(dec.StackPointer().Tokens())
		return nil
	case '{':
		var form struct {
			Ref         *string `json:"ref"`
			ContentType hint    `json:"content_type"`
			Size        hint    `json:"size"`
		}
		if err := json.UnmarshalDecode(dec, &form, json.RejectUnknownMembers(true)); err != nil {
			return err
		}
		s.field = problem.Path(dec.StackPointer().Tokens())
		if form.Ref == nil || !strings.HasPrefix(*form.Ref, "s3://") {
			return problem.Invalid(s.field+".ref", `expected the "s3://…" address of an input`)
		}
		s.ref = *form.Ref
		return storedFacts(s.field, form.ContentType, form.Size)
	default:
		if err := dec.SkipValue(); err != nil {
			return err
		}
		return problem.Invalid(problem.Path(dec.StackPointer().Tokens()), `got a JSON %s; expected a base64 string or {"ref": "s3://…"}`, kind)
	}
}

// hint is a value that is looked at and not kept, for as long as it is no object or
// array, of which the reader would keep each name.
type hint struct {
	kind jsontext.Kind // 0 where it is absent
	text string        // of a number
}

// UnmarshalJSONFrom reads the value.
func (h *hint) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	h.kind = dec.PeekKind()
	if h.kind == '{' || h.kind == '[' {
		return problem.Invalid(problem.Path(dec.StackPointer().Tokens()), "got a JSON %s; expected a string or a number", h.kind)
	}
	value, err := dec.ReadValue()
	const digits = 32 // of a size, at most, and some more
	if h.kind == '0' && len(value) <= digits {
		h.text = string(value)
	}
	return err
}

// storedFacts holds what comes with a stored input to its form. The values are
// hints: the store knows the size, and a codec looks at the content. A null is
// as good as none.
func storedFacts(field string, contentType, size hint) error {
	if contentType.kind != 0 && contentType.kind != '"' && contentType.kind != 'n' {
		return problem.Invalid(field+".content_type", "got a JSON %s; expected a string", contentType.kind)
	}
	if size.kind == 0 || size.kind == 'n' {
		return nil
	}
	if _, err := strconv.ParseUint(size.text, 10, 63); err != nil {
		return problem.Invalid(field+".size", "expected its bytes, a non-negative integer")
	}
	return nil
}

// Field is the source's name in the form, for errors about its content.
func (s *Source) Field() string { return s.field }

// Bytes returns the input: the decoded base64, or what the reference names.
// in is the payload the source was decoded from. Its memory is taken from the
// process's budget as it grows. Errors are problems that name the field:
// problem.InvalidArgument for what is no base64 or no reference of the tenant's,
// problem.NotFound, problem.PayloadTooLarge, and whatever in.Reserve returns.
func (s *Source) Bytes(ctx context.Context, in serve.Payload) ([]byte, error) {
	switch {
	case !s.Present():
		return nil, problem.New(problem.Internal, "read a source that the form does not have")
	case s.ref != "":
		return s.open(ctx, in)
	default:
		return s.inline(ctx, in)
	}
}

func (s *Source) inline(ctx context.Context, in serve.Payload) ([]byte, error) {
	if s.start < 0 || s.end > int64(len(in.Body)) || s.end-s.start < 2 {
		return nil, problem.New(problem.Internal, "read %s from another payload than its own", s.field)
	}
	text := in.Body[s.start+1 : s.end-1]
	if bytes.IndexByte(text, '\\') >= 0 { // "\/" is how some writers put a slash
		if err := reserve(ctx, in, len(text)); err != nil {
			return nil, err
		}
		plain, err := jsontext.AppendUnquote(nil, in.Body[s.start:s.end])
		if err != nil {
			return nil, problem.Invalid(s.field, "expected a base64 string")
		}
		text = plain
	}
	data := base64.StdEncoding.DecodedLen(len(text))
	if err := reserve(ctx, in, data); err != nil {
		return nil, err
	}
	out := make([]byte, data)
	n, err := base64.StdEncoding.Decode(out, text)
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) {
		return nil, problem.Invalid(s.field, "not base64 from its character %d on; expected the standard alphabet with padding (RFC 4648), or {\"ref\": \"s3://…\"}", int64(corrupt))
	}
	return out[:n], nil
}

func (s *Source) open(ctx context.Context, in serve.Payload) (_ []byte, err error) {
	if in.Open == nil {
		return nil, problem.Invalid(s.field+".ref", "references are not served here; expected a base64 string")
	}
	body, err := in.Open(ctx, s.ref)
	if err != nil {
		return nil, atField(s.field+".ref", err)
	}
	defer func() {
		if cerr := body.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", s.field, cerr)
		}
	}()
	data, err := readAll(ctx, in, body)
	if err != nil {
		return nil, atField(s.field+".ref", err)
	}
	return data, nil
}

// readAll reads to the end, taking each doubling of its buffer from the memory
// budget before it grows. The reader bounds the length.
func readAll(ctx context.Context, in serve.Payload, r io.Reader) ([]byte, error) {
	if err := reserve(ctx, in, firstRead); err != nil {
		return nil, err
	}
	data := make([]byte, 0, firstRead)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if len(data) == cap(data) {
			if err := reserve(ctx, in, cap(data)); err != nil {
				return nil, err
			}
			data = append(make([]byte, 0, 2*cap(data)), data...)
		}
	}
}

func reserve(ctx context.Context, in serve.Payload, n int) error {
	if in.Reserve == nil || n == 0 {
		return nil
	}
	return in.Reserve(ctx, int64(n))
}

// atField names the field in an error about what it refers to: the one that
// opened it knows only a reference.
func atField(field string, err error) error {
	var known *problem.Error
	if !errors.As(err, &known) {
		return fmt.Errorf("%s: %w", field, err)
	}
	if known.Code != problem.InvalidArgument && known.Code != problem.NotFound && known.Code != problem.PayloadTooLarge {
		return err
	}
	detail := known.Detail
	if len(known.Fields) == 1 {
		detail = known.Fields[0].Detail
	}
	named := *known
	named.Detail = field + ": " + detail
	named.Fields = []problem.Field{{Field: field, Detail: detail}}
	return &named
}

// requireSources refuses a form that lacks one of its sources. The others' text
// stands that many bytes further on in the body than it was decoded at.
func requireSources(dst any, further int64) error {
	form := reflect.ValueOf(dst).Elem()
	if form.Kind() != reflect.Struct {
		return nil
	}
	for i := range form.NumField() {
		source, ok := form.Field(i).Addr().Interface().(*Source)
		name, options, _ := strings.Cut(form.Type().Field(i).Tag.Get("json"), ",")
		if ok && source.ref == "" && source.Present() {
			source.start, source.end = source.start+further, source.end+further
		}
		if ok && !source.Present() && options != "omitzero" {
			return problem.Invalid(name, `missing; expected a base64 string or {"ref": "s3://…"}`)
		}
	}
	return nil
}
