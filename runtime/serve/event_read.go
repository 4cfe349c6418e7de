package serve

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// The members of an event's JSON that are no attributes but its data, and the
// attributes whose place depends on the form.
const (
	dataMember      = "data"
	base64Member    = "data_base64"
	versionName     = "specversion"
	contentTypeName = "datacontenttype"
)

// What one event may have beside its data: members, and bytes of them, as much as
// those who hand events on must take (CloudEvents 1.0.2, 4). Headers have a bound of
// their own.
const (
	maxMembers    = 256
	maxAttributes = 64 << 10
)

// readEvent reads the event a request holds. The SDK's reader is not used: where
// a member's meaning depends on one that stands behind it, that reader decodes
// the text between the two instead of the value, and it takes null for data.
func readEvent(form form, body []byte, r *http.Request, reserve func(bytes int64) error) (event.Event, error) {
	a := attributes{reserve: reserve}
	var err error
	switch form {
	case structuredEvent:
		err = a.readStructured(body, mediaType(r.Header.Get("Content-Type")))
	case binaryEvent:
		a.prefix = "ce-"
		err = a.readBinary(body, r.Header)
	default:
		err = problem.New(problem.UnsupportedMedia, "a function answers one event at a time: batches are not supported here")
	}
	if err == nil {
		err = a.checkRequired()
	}
	return event.Event{Context: &a.context, DataEncoded: a.data}, err
}

// attributes is an event while it is read. Its errors name the attribute and
// what was expected of it, and hold nothing that the sender wrote.
type attributes struct {
	prefix  string // of an attribute's name in errors
	context event.EventContextV1
	data    []byte
	reserve func(bytes int64) error // before the data is decoded
}

// invalid is the fault of one attribute.
func (a *attributes) invalid(name, expected string) error {
	const most = 80
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return problem.Invalid(a.prefix+name, "%s", expected)
}

// checkRequired checks that an event has what each must have.
func (a *attributes) checkRequired() error {
	switch {
	case a.context.ID == "":
		return a.invalid("id", "expected the event's id, a string that is not empty; it is missing or blank")
	case a.context.Source.String() == "":
		return a.invalid("source", "expected where the event is from, a URI-reference (RFC 3986); it is missing or blank")
	case a.context.Type == "":
		return a.invalid("type", "expected the event's type, a string that is not empty; it is missing or blank")
	default:
		return nil
	}
}

// setText sets an attribute or extension whose value is a text. One of the
// specification's own that is blank counts as absent.
func (a *attributes) setText(name, text string) error {
	if isOwn(name) && strings.TrimSpace(text) == "" {
		return nil
	}
	c := &a.context
	switch name {
	case "id":
		c.ID = text
	case "type":
		c.Type = text
	case "subject":
		c.Subject = &text
	case "source":
		source := types.ParseURIRef(text)
		if source == nil {
			return a.invalid(name, "expected a URI-reference (RFC 3986), such as /scanners/7")
		}
		c.Source = *source
	case "dataschema":
		schema := types.ParseURI(text)
		if schema == nil || !schema.Validate() {
			return a.invalid(name, "expected an absolute URI (RFC 3986, 4.3), such as https://example.com/schema.json")
		}
		c.DataSchema = schema
	case "time":
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return a.invalid(name, "expected a time as in RFC 3339, such as 2027-01-31T12:00:00Z")
		}
		c.Time = &types.Timestamp{Time: t}
	case contentTypeName:
		if _, _, err := mime.ParseMediaType(text); err != nil {
			return a.invalid(name, "expected a media type (RFC 2046), such as image/png")
		}
		c.DataContentType = &text
	default:
		return a.setExtension(name, text)
	}
	return nil
}

// isOwn reports whether a name is one of the specification's own attributes.
func isOwn(name string) bool {
	switch name {
	case "id", "source", "type", "subject", "dataschema", "time", contentTypeName, versionName:
		return true
	default:
		return false
	}
}

// isExtension reports whether a name may be an extension's: not one that differs
// from another member's in capitals alone.
func isExtension(name string) bool {
	lower := strings.ToLower(name)
	return event.IsExtensionNameValid(name) && !isOwn(lower) && lower != dataMember
}

// expectedName is what is wrong with the name of what is none.
const expectedName = "expected an attribute of CloudEvents 1.0, or an extension, whose name is of lower-case letters and digits"

// setExtension sets an extension. Senders that write its name with capitals are
// understood as the SDKs do, but never as an attribute or the data.
func (a *attributes) setExtension(name string, value any) error {
	lower := strings.ToLower(name)
	switch {
	case !isExtension(name):
		return a.invalid(name, expectedName)
	case a.context.Extensions[lower] != nil:
		return a.invalid(name, "expected the extension once; there is another that differs in capitals alone")
	}
	if _, text := value.(string); lower == dataRef && !text {
		return a.invalid(name, "expected a string, where the data is")
	}
	if err := a.context.SetExtension(lower, value); err != nil {
		return a.invalid(name, "expected a string, true or false, or an integer of 32 bits")
	}
	return nil
}

// readBinary reads an event whose attributes are headers.
func (a *attributes) readBinary(body []byte, h http.Header) error {
	if versions := h.Values("Ce-Specversion"); len(versions) != 1 || headerText(versions[0]) != event.CloudEventsVersionV1 {
		return a.invalid(versionName, "expected 1.0")
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		attribute, ok := strings.CutPrefix(name, "Ce-")
		if !ok || attribute == "Specversion" {
			continue
		}
		attribute = strings.ToLower(attribute)
		values := h[name]
		switch {
		case len(values) != 1:
			return a.invalid(attribute, "expected the header once; got it "+strconv.Itoa(len(values))+" times")
		case !utf8.ValidString(values[0]):
			return a.invalid(attribute, "expected UTF-8")
		case attribute == contentTypeName:
			return a.invalid(attribute, "expected the type of the data in the header Content-Type instead")
		case attribute == dataMember:
			return a.invalid(attribute, "expected the data as the body instead")
		}
		if err := a.setText(attribute, percentDecode(headerText(values[0]))); err != nil {
			return err
		}
	}
	if t := h.Get("Content-Type"); strings.TrimSpace(t) != "" {
		if _, _, err := mime.ParseMediaType(t); err != nil {
			return problem.Invalid("Content-Type", "expected a media type (RFC 2046), such as image/png")
		}
		a.context.DataContentType = &t
	}
	a.data = body
	return nil
}

// readStructured reads an event that is one JSON object.
func (a *attributes) readStructured(body []byte, media string) error {
	if media != eventJSON {
		return problem.New(problem.UnsupportedMedia, "expected structured events as %s", eventJSON)
	}
	body = infer.WithoutMark(body)
	if err := infer.CheckJSON(body, infer.Limits{Reserve: a.reserve}); err != nil {
		return err
	}
	if jsontext.Value(body).Kind() != '{' {
		return problem.New(problem.MalformedBody, "expected a CloudEvent, a JSON object")
	}
	members, err := membersOf(body)
	if err != nil {
		return err
	}
	// In this order, whichever the sender's: what an attribute is depends on the
	// version, and what the data is on its type.
	if version, ok := members.text(versionName); !ok || version != event.CloudEventsVersionV1 {
		return a.invalid(versionName, `expected "1.0"`)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name == versionName || name == dataMember || name == base64Member {
			continue
		}
		if err := a.setValue(members, name); err != nil {
			return err
		}
	}
	return a.setData(members)
}

// members are those of an event's JSON that are not null: null is as good as
// absent (CloudEvents 1.0.2, JSON format, 2.2). Their values lie in the body.
type members map[string]jsontext.Value

// membersOf reads the members of an object, which has been checked.
func membersOf(object []byte) (members, error) {
	reader := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true)) // which reads it where it is
	found, attributes := members{}, 0
	_, err := reader.ReadToken()
	for err == nil && reader.PeekKind() == '"' {
		if len(found) > maxMembers {
			return nil, problem.Invalid("body", "expected an event of at most %d members", maxMembers)
		}
		var n int
		if n, err = found.read(object, reader); err == nil {
			attributes += n
		}
		if attributes > maxAttributes {
			return nil, problem.Invalid("body", "expected an event of at most %d bytes beside its data", maxAttributes)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read an event that has been checked: %w", err)
	}
	return found, nil
}

// read reads one member, and returns its bytes where it is not data. Names are short,
// as they were checked.
func (m members) read(object []byte, reader *jsontext.Decoder) (bytes int, err error) {
	token, err := reader.ReadToken()
	if err != nil {
		return 0, err
	}
	name := token.String()
	value, err := reader.ReadValue()
	if err != nil {
		return 0, err
	}
	if end := reader.InputOffset(); value.Kind() != 'n' {
		m[name] = object[end-int64(len(value)) : end]
	}
	if name != dataMember && name != base64Member {
		bytes = len(name) + len(value)
	}
	return bytes, nil
}

// text is a member that is a string; false where it is none, or absent.
func (m members) text(name string) (string, bool) {
	value, ok := m[name]
	if !ok || value.Kind() != '"' {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err == nil
}

// setValue sets one attribute or extension from its JSON.
func (a *attributes) setValue(m members, name string) error {
	value := m[name]
	switch kind := value.Kind(); {
	case kind == '"':
		text, _ := m.text(name)
		return a.setText(name, text)
	case isOwn(name):
		return a.invalid(name, "expected a string")
	case !isExtension(name):
		return a.invalid(name, expectedName)
	case kind == 't', kind == 'f':
		return a.setExtension(name, kind == 't')
	case kind == '0':
		if n, err := strconv.ParseFloat(string(value), 64); err == nil && n == math.Trunc(n) && n >= math.MinInt32 && n <= math.MaxInt32 {
			return a.setExtension(name, int32(n))
		}
	}
	return a.invalid(name, "expected a string, true or false, or an integer of 32 bits")
}

// setData sets the data: of data the value itself where its type is JSON's, which
// is the default, and else the text that it is; of data_base64 what it encodes.
func (a *attributes) setData(m members) (err error) {
	value, isData := m[dataMember]
	encoded, isBase64 := m[base64Member]
	if isData || isBase64 { // its text, and what a text stands for
		if err := a.reserve(int64(len(value) + 2*len(encoded))); err != nil {
			return err
		}
	}
	switch {
	case isData && isBase64:
		return a.invalid(base64Member, "expected either data or data_base64; got both")
	case isBase64:
		if a.data, err = decodeBase64(encoded); err != nil {
			return a.invalid(base64Member, "expected a string of base64 (RFC 4648, 4)")
		}
		return nil
	case a.context.DataContentType == nil:
		a.context.DataContentType = event.StringOfApplicationJSON() // the format's default
		a.data = value
		return nil
	case isJSON(mediaType(*a.context.DataContentType)):
		a.data = value
		return nil
	case isData:
		if a.data, err = unquote(value); err != nil {
			return a.invalid(dataMember, "expected a string, as the datacontenttype is not that of JSON")
		}
		return nil
	default:
		return nil
	}
}

// decodeBase64 decodes what a JSON string holds.
func decodeBase64(value jsontext.Value) ([]byte, error) {
	if value.Kind() != '"' {
		return nil, errNoString
	}
	text := value[1 : len(value)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		var err error
		if text, err = unquote(value); err != nil {
			return nil, err
		}
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], err
}

// unquote is a JSON value's text, where it is a string.
func unquote(value jsontext.Value) ([]byte, error) {
	if value.Kind() != '"' {
		return nil, errNoString
	}
	return jsontext.AppendUnquote(make([]byte, 0, len(value)), value)
}

// errNoString is of a value that is none.
var errNoString = errors.New("not a string")

// isJSON reports whether a media type is one of JSON (CloudEvents 1.0.2, JSON
// format, 3.1).
func isJSON(media string) bool {
	_, subtype, _ := strings.Cut(media, "/")
	return subtype == "json" || strings.HasSuffix(subtype, "+json")
}
