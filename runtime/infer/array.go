package infer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
)

// array is a JSON data array, read.
type array struct {
	data     []byte
	elements int64
	dims     []int64 // of a nested array, down to the first empty axis; one entry when flat
}

// arrayReader turns the text of a JSON data array into raw tensor data. The
// text has been through the tokenizer: it is one well-formed value.
type arrayReader struct {
	dataType DataType
	path     where // of the array, for errors
	depth    int   // of JSON values the array lies in
	limit    int64 // most elements; 0 is none
	reserve  func(bytes int64) error
	shape    []int64 // nil while not known
}

// read reads the array in text.
func (r *arrayReader) read(text []byte) (array, error) {
	if len(text) == 0 || text[0] != '[' {
		return array{}, problem.Invalid(r.path.String(), "expected an array; got %s", excerpt(text))
	}
	out, err := r.allocate(text)
	if err != nil {
		return array{}, err
	}
	var stack [MaxDepth]int64
	at := stack[:0] // how many values each open array has had
	leaf := 0       // the level the elements lie at, once one was seen
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n', ',':
			i++
		case '[':
			if len(at)+r.depth >= MaxDepth {
				return array{}, problem.Invalid(r.path.String(), "nested deeper than %d", MaxDepth)
			}
			if leaf > 0 && len(at) >= leaf {
				return array{}, r.ragged(at)
			}
			at = append(at, 0)
			i++
		case ']':
			if err := r.closeLevel(&out, at); err != nil {
				return array{}, err
			}
			at = at[:len(at)-1]
			if len(at) > 0 {
				at[len(at)-1]++
			}
			i++
		default:
			if leaf == 0 {
				leaf = len(at)
			}
			if len(at) != leaf || len(out.dims) > 0 && len(out.dims) != leaf {
				return array{}, r.ragged(at)
			}
			var n int
			// The elements of one innermost array, without looking at levels.
			n, err = r.run(&out, text[i:], &at[len(at)-1])
			if err != nil {
				return array{}, r.element(err, at, text[i+n:])
			}
			i += n
		}
	}
	return out, nil
}

// run reads elements until the innermost array ends, and returns how much of
// text they were; on an error, where the faulty one begins.
func (r *arrayReader) run(out *array, text []byte, count *int64) (int, error) {
	for i := 0; i < len(text); {
		switch text[i] {
		case ' ', '\t', '\r', '\n', ',':
			i++
			continue
		case ']', '[':
			return i, nil
		}
		if r.limit > 0 && out.elements >= r.limit {
			return i, errTooMany
		}
		data, n, err := appendElement(out.data, r.dataType, text[i:])
		if err != nil {
			return i, err
		}
		out.data = data
		out.elements++
		*count++
		i += n
	}
	return len(text), nil
}

var errTooMany = errors.New("too many elements")

// allocate makes an array for as many elements as the text can hold, no more than
// its shape and the limit allow: a client gets no more memory by a shape than it
// has sent bytes for.
func (r *arrayReader) allocate(text []byte) (array, error) {
	most := int64(bytes.Count(text, []byte{','})) + 1
	if n := elements(r.shape); r.shape != nil && n >= 0 {
		most = min(most, n)
	}
	if r.limit > 0 {
		most = min(most, r.limit)
	}
	size := most * int64(r.dataType.Size())
	if r.dataType == Bytes {
		size = 4*most + int64(len(text))
	}
	if r.reserve != nil {
		if err := r.reserve(size); err != nil {
			return array{}, err
		}
	}
	return array{data: make([]byte, 0, size)}, nil
}

// closeLevel checks that the array now ending is as long as its siblings were.
// at holds the counts of the open arrays, the one ending last.
func (r *arrayReader) closeLevel(out *array, at []int64) error {
	level, n := len(at), at[len(at)-1]
	for len(out.dims) < level {
		out.dims = append(out.dims, -1)
	}
	if out.dims[level-1] == -1 {
		out.dims[level-1] = n
		return nil
	}
	if out.dims[level-1] != n {
		return r.ragged(at[:level-1])
	}
	return nil
}

// ragged is the fault of arrays whose siblings differ in length or depth.
func (r *arrayReader) ragged(at []int64) error {
	return problem.Invalid(r.indexed(at), "nested arrays must all have the same length and depth")
}

// element is the problem of one element's fault.
func (r *arrayReader) element(err error, at []int64, text []byte) error {
	if errors.Is(err, errTooMany) {
		return tooMany(r.path.String(), r.limit)
	}
	field := r.indexed(at)
	got := excerpt(text)
	if errors.Is(err, errRange) {
		return problem.Invalid(field, "%s is out of the range of %s", got, r.dataType)
	}
	return problem.Invalid(field, "expected %v for %s; got %s", err, r.dataType, got)
}

// indexed is the array's path with the index of one of its elements.
func (r *arrayReader) indexed(at []int64) string {
	var b strings.Builder
	b.WriteString(r.path.String())
	for _, i := range at {
		b.WriteString("[" + strconv.FormatInt(i, 10) + "]")
	}
	return b.String()
}

// fits checks that the array has the shape: flat with as many elements, or
// nested just so.
func (a *array) fits(path where, shape []int64) error {
	want := elements(shape)
	if a.elements != want {
		return problem.Invalid(path.String(), "expected %s for the shape %v; got %d", count(want, "element"), shape, a.elements)
	}
	if len(a.dims) <= 1 {
		return nil
	}
	// Nested and empty: below the first empty axis the text shows nothing.
	if len(a.dims) > len(shape) || a.elements > 0 && len(a.dims) < len(shape) {
		return problem.Invalid(path.String(), "expected a flat array, or one nested as the shape %v; got one nested as %v", shape, a.dims)
	}
	for i, n := range a.dims {
		if n != shape[i] {
			return problem.Invalid(path.String(), "expected a flat array, or one nested as the shape %v; got one nested as %v", shape, a.dims)
		}
		if n == 0 {
			break
		}
	}
	return nil
}

// tooMany is the fault of a tensor over its bound on elements.
func tooMany(path string, limit int64) error {
	e := problem.Invalid(path, "expected at most %s", count(limit, "element"))
	e.Code = problem.PayloadTooLarge
	return e
}

// appendString reads one JSON string as a BYTES element.
func appendString(dst, src []byte) (_ []byte, n int, err error) {
	if src[0] != '"' {
		return dst, 0, errString
	}
	n = 1
	for {
		end := bytes.IndexByte(src[n:], '"')
		if end < 0 {
			return dst, n, errString
		}
		n += end + 1
		slashes := 0
		for i := n - 2; i > 0 && src[i] == '\\'; i-- {
			slashes++
		}
		if slashes%2 == 0 {
			break
		}
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	if inner := src[1 : n-1]; bytes.IndexByte(inner, '\\') < 0 {
		dst = append(dst, inner...)
	} else if dst, err = jsontext.AppendUnquote(dst, src[:n]); err != nil {
		return dst[:start], n, errString
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst, n, nil
}

// excerpt is the JSON value at the head of text, for an error: whole where it is
// short, never cut within, and described by its kind where it has values of its own.
func excerpt(text []byte) string {
	switch {
	case len(text) == 0:
		return "nothing"
	case text[0] == '{':
		return "an object"
	case text[0] == '[':
		return "an array"
	case text[0] == '"':
		return excerptString(text)
	}
	end := bytes.IndexAny(text, ",]} \t\r\n")
	if end < 0 {
		end = len(text)
	}
	if end > mostExcerpt {
		return fmt.Sprintf("a number of %d characters", end)
	}
	return string(text[:end])
}

// mostExcerpt bounds what an error repeats of a value, in bytes.
const mostExcerpt = 40

// excerptString is the JSON string at the head of text, or the head of a long one.
func excerptString(text []byte) string {
	value, err := jsontext.NewDecoder(bytes.NewBuffer(text)).ReadValue()
	if err != nil {
		return "a string"
	}
	if len(value) <= mostExcerpt {
		return string(value)
	}
	const decoded = 4 << 10 // bytes, at most
	if len(value) > decoded {
		return fmt.Sprintf("a string of %d bytes", len(value)-2)
	}
	content, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "a string"
	}
	if len(content) > mostExcerpt {
		content = append([]byte(strings.ToValidUTF8(string(content[:mostExcerpt]), "")), "…"...)
	}
	quoted, err := jsontext.AppendQuote(nil, content)
	if err != nil {
		return "a string"
	}
	return string(quoted)
}

// count formats a number of things.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
