package operation

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"
)

// output is how an answer is written.
type output struct {
	status  int
	headers []header
	body    reflect.Type // nil for none
	at      []int
}

// header is one field of an output that is not its body: a string.
type header struct {
	name, text string
	at         []int
}

func outputOf(t reflect.Type, op *Operation) *output {
	o := &output{}
	for _, f := range reflect.VisibleFields(t) {
		if f.Name == "Body" {
			o.body, o.at = f.Type, f.Index
		} else if name := f.Tag.Get("header"); name != "" {
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
	if o.body != nil {
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
	w.WriteHeader(o.status)
	_, _ = w.Write(data) // a caller that is gone needs no error
	return nil
}
