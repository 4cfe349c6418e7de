package operation

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Stream is the Body of an output that is not JSON, of the type that its tag media
// names. It is called once, and writes the answer while it is made: an error before
// the first byte is answered as any other, a later one breaks the answer off.
type Stream func(io.Writer) error

// output is how an answer is written.
type output struct {
	status   int
	others   []int // that Status may be instead
	statusAt []int // of Status; nil for none
	headers  []header
	body     reflect.Type // nil for none
	at       []int
	media    string // of a Stream
}

// header is one field of an output that is not its body: a string.
type header struct {
	name, text string
	at         []int
}

func outputOf(t reflect.Type, op *Operation) *output {
	o := &output{}
	for _, f := range reflect.VisibleFields(t) {
		switch name := f.Tag.Get("header"); {
		case f.Name == "Body":
			o.body, o.at, o.media = f.Type, f.Index, f.Tag.Get("media")
		case f.Name == "Status":
			o.statusAt = f.Index
			for text := range strings.SplitSeq(f.Tag.Get("or"), ",") {
				status, _ := strconv.Atoi(text) // a bad one is no status of the document's
				o.others = append(o.others, status)
			}
		case name != "":
			o.headers = append(o.headers, header{name: name, text: f.Tag.Get("doc"), at: f.Index})
		}
	}
	switch {
	case op.Status != 0:
	case o.body == nil:
		op.Status = http.StatusNoContent
	default:
		op.Status = http.StatusOK
	}
	o.status = op.Status
	return o
}

func (o *output) write(w http.ResponseWriter, from reflect.Value) error {
	var data []byte
	switch {
	case o.media != "":
		stream, _ := from.FieldByIndex(o.at).Interface().(Stream)
		return o.stream(w, stream)
	case o.body != nil:
		var err error
		if data, err = json.Marshal(from.FieldByIndex(o.at).Interface()); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		data = append(data, '\n')
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	for _, h := range o.headers {
		if text := from.FieldByIndex(h.at).String(); text != "" {
			w.Header().Set(h.name, text)
		}
	}
	status := o.status
	if o.statusAt != nil {
		if other := int(from.FieldByIndex(o.statusAt).Int()); other != 0 {
			status = other
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(data) // a caller that is gone needs no error
	return nil
}

// stream writes an answer while it is made. What is half an answer breaks off.
func (o *output) stream(w http.ResponseWriter, stream Stream) error {
	out := &streamed{w: w, to: http.NewResponseController(w), output: o}
	err := stream(out)
	switch {
	case err != nil && out.begun:
		panic(http.ErrAbortHandler)
	case err != nil:
		return err
	case !out.begun: // it is empty
		_, _ = out.Write(nil)
	}
	_ = out.to.SetWriteDeadline(time.Time{}) // of the connection, which goes on
	return nil
}

// readWithin is how long a caller may take to read some of a stream.
const readWithin = 30 * time.Second

// streamed writes the status before the first bytes.
type streamed struct {
	*output

	w     http.ResponseWriter
	to    *http.ResponseController
	begun bool
}

// Write implements io.Writer.
func (s *streamed) Write(data []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.media)
		s.w.Header().Set("X-Content-Type-Options", "nosniff")
		s.w.WriteHeader(s.status)
	}
	_ = s.to.SetWriteDeadline(time.Now().Add(readWithin)) // of a server that has them
	return s.w.Write(data)                                //nolint:wrapcheck // the caller's
}
