package problemgrpc

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of a gRPC status among headers or trailers (PROTOCOL-HTTP2.md).
const (
	statusName  = "Grpc-Status"
	messageName = "Grpc-Message"
	detailsName = "Grpc-Status-Details-Bin"
)

// SetStatus writes an error, or OK for nil, into the headers of a response as its
// trailers, which net/http sends at its end.
func SetStatus(h http.Header, e *connect.Error) {
	if e == nil {
		h[http.TrailerPrefix+statusName] = []string{"0"}
		return
	}
	h[http.TrailerPrefix+statusName] = []string{strconv.Itoa(int(e.Code()))}
	h[http.TrailerPrefix+messageName] = []string{escape(e.Message())}
	if len(e.Details()) == 0 {
		return
	}
	status := &spb.Status{Code: int32(e.Code()), Message: e.Message()}
	for _, d := range e.Details() {
		status.Details = append(status.Details, &anypb.Any{TypeUrl: "type.googleapis.com/" + d.Type(), Value: d.Bytes()})
	}
	if data, err := proto.Marshal(status); err == nil { // else only the details are lost
		h[http.TrailerPrefix+detailsName] = []string{connect.EncodeBinaryHeader(data)}
	}
}

// Write answers a gRPC call with an error alone. Its content type is the call's own,
// without parameters.
func Write(w http.ResponseWriter, r *http.Request, e *connect.Error) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	w.Header().Set("Content-Type", strings.ToLower(strings.TrimSpace(media)))
	SetStatus(w.Header(), e)
	w.WriteHeader(http.StatusOK)
}

// Status is the status that headers or trailers have: nil for OK, and false where
// they have none. An error is one of the wire (connect.IsWireError).
func Status(h http.Header) (*connect.Error, bool) {
	text := h.Get(statusName)
	if text == "" || text == "0" {
		return nil, text != ""
	}
	number, err := strconv.ParseUint(text, 10, 5)
	if err != nil {
		number = uint64(connect.CodeUnknown)
	}
	message, err := url.PathUnescape(h.Get(messageName))
	if err != nil {
		message = h.Get(messageName)
	}
	e := connect.NewWireError(connect.Code(number), errors.New(message))
	data, err := connect.DecodeBinaryHeader(h.Get(detailsName))
	var status spb.Status
	if err != nil || proto.Unmarshal(data, &status) != nil {
		return e, true
	}
	if len(data) > 0 {
		e = connect.NewWireError(connect.Code(number), errors.New(status.GetMessage()))
	}
	for _, d := range status.GetDetails() {
		if detail, err := connect.NewErrorDetail(d); err == nil {
			e.AddDetail(detail)
		}
	}
	return e, true
}

// escape is a message as a trailer has it: what is not printable ASCII, and the
// percent sign, are percent-encoded.
func escape(message string) string {
	const digits = "0123456789ABCDEF"
	plain := func(b byte) bool { return b >= ' ' && b <= '~' && b != '%' }
	var out strings.Builder
	for i := range len(message) {
		if b := message[i]; plain(b) {
			out.WriteByte(b)
		} else {
			out.WriteByte('%')
			out.WriteByte(digits[b>>4])
			out.WriteByte(digits[b&15])
		}
	}
	return out.String()
}
