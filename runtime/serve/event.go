package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// The forms a CloudEvent has on HTTP (CloudEvents 1.0.2, HTTP protocol
// binding): its attributes in headers, or everything in one JSON object.
type form int

const (
	notEvent form = iota
	binaryEvent
	structuredEvent
	batchedEvents
)

const (
	eventJSON  = "application/cloudevents+json"
	eventBatch = "application/cloudevents-batch"
	eventAny   = "application/cloudevents"
	// dataRef is the extension of the claim check: where the data is.
	dataRef = "dataref"
)

// eventForm is the form of the event a request holds.
func eventForm(r *http.Request) form {
	media := mediaType(r.Header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(media, eventBatch):
		return batchedEvents
	case strings.HasPrefix(media, eventAny):
		return structuredEvent
	case len(r.Header.Values("Ce-Specversion")) > 0:
		return binaryEvent
	default:
		return notEvent
	}
}

// answerEvent runs the codec on an event's data and answers with an event of
// the same form; where there is a sink the answer goes there, and the sender gets
// 202 once it has arrived.
func (s *Server) answerEvent(ctx context.Context, c *call, held *memory.Call, form form, body []byte, w http.ResponseWriter, r *http.Request) error {
	in, err := readEvent(form, body, r, func(n int64) error { return held.Take(ctx, n) })
	if err != nil {
		return err
	}
	data, err := s.eventData(ctx, held, s.storage(r.Header), in)
	if err != nil {
		return err
	}
	answer, err := s.answer(ctx, c, held, s.callerOf(r.Header), Payload{ContentType: mediaType(in.DataContentType()), Body: data})
	if err != nil {
		return err
	}
	out := s.answeringEvent(in)
	if err := out.SetData("application/json", json.RawMessage(answer)); err != nil {
		return err
	}
	c.writeTiming(w.Header())
	if s.cfg.Sink != nil {
		if err := s.cfg.Sink(ctx, out); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	return s.writeEvent(ctx, c, held, form, out, answer, w, r)
}

// writeEvent answers with an event, whose data is in it and beside it, in the form of
// the one that it answers.
func (s *Server) writeEvent(ctx context.Context, c *call, held *memory.Call, form form, out event.Event, data []byte, w http.ResponseWriter, r *http.Request) error {
	if form == structuredEvent {
		if err := held.Take(ctx, 2*int64(len(data))); err != nil { // written, and once more on the way
			return err
		}
		text, err := json.Marshal(out)
		if err != nil {
			return err
		}
		s.writeAnswer(c, held, w, r, eventJSON, text)
		return nil
	}
	writeAttributes(w.Header(), out)
	s.writeAnswer(c, held, w, r, "application/json", data)
	return nil
}

// eventData is an event's data, fetched for the tenant that sent it when only a
// dataref came. A tenant that the event itself names is not trusted.
func (s *Server) eventData(ctx context.Context, held memory.Holder, tenant string, in event.Event) ([]byte, error) {
	ref, _ := in.Extensions()[dataRef].(string)
	if len(in.Data()) > 0 || ref == "" {
		return in.Data(), nil
	}
	r, err := s.cfg.Open(ctx, tenant, dataRef, ref)
	if err != nil {
		return nil, err
	}
	data, err := infer.ReadBody(ctx, &endingReader{r: r}, infer.Body{Length: -1, HeaderLength: infer.NoHeader, Limit: s.cfg.Limits.MaxBody, Memory: held})
	if closing := r.Close(); err == nil {
		err = closing
	}
	return data, err
}

// answeringEvent is the event that answers in, without data. Its id is made of
// in's, so that an event delivered twice is answered with the same one.
func (s *Server) answeringEvent(in event.Event) event.Event {
	out := event.New()
	sum := sha256.Sum256([]byte(s.cfg.Function + "\x00" + in.Source() + "\x00" + in.ID()))
	out.SetID(hex.EncodeToString(sum[:16]))
	out.SetType("dev.modelserve." + s.cfg.Function + ".answered.v1")
	out.SetSource("/functions/" + s.cfg.Function)
	out.SetTime(time.Now().UTC())
	if in.Subject() != "" {
		out.SetSubject(in.Subject())
	}
	for name, value := range in.Extensions() {
		// dataref is about the data that came; knativeerror* about a delivery.
		if name != dataRef && !strings.HasPrefix(name, "knativeerror") {
			out.SetExtension(name, value)
		}
	}
	return out
}

// writeAttributes sets an event's attributes as headers.
func writeAttributes(h http.Header, out event.Event) {
	set := func(name, value string) {
		if value != "" {
			h.Set("Ce-"+name, percentEncode(value))
		}
	}
	set("Specversion", out.SpecVersion())
	set("Id", out.ID())
	set("Type", out.Type())
	set("Source", out.Source())
	set("Subject", out.Subject())
	set("Time", out.Time().Format(time.RFC3339Nano))
	for name, value := range out.Extensions() {
		if text, err := types.Format(value); err == nil {
			set(name, text)
		}
	}
}

// headerText is what a quoted string (RFC 7230, 3.2.6) stands for, and any other text
// itself: a header's value may be one (HTTP protocol binding, 3.1.3.2).
func headerText(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		switch {
		case s[i] == '"':
			return s // more than one
		case s[i] == '\\' && i+1 == len(s)-1:
			return s // its last quote is escaped
		case s[i] == '\\':
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// percentDecode decodes what percentEncode encodes. Most SDKs do not encode a
// per cent sign, so one that begins no two hexadecimal digits is itself, and a
// value that would decode to what is no UTF-8 was never encoded.
func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				decoded = append(decoded, c[0])
				i += 2
				continue
			}
		}
		decoded = append(decoded, s[i])
	}
	if !utf8.Valid(decoded) {
		return s
	}
	return string(decoded)
}

// percentEncode encodes what a header cannot hold: space, the quote, the per
// cent sign and all that is not printable ASCII (HTTP protocol binding, 3.1.3.2).
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
