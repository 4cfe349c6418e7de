package grpcwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/internal/media"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
)

// NewRequest is a call of a procedure (/package.Service/Method) with one message.
// Its body can be read anew as often as it is asked for.
func NewRequest(ctx context.Context, procedure string, m Message) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function"+procedure, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", procedure, err)
	}
	r.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(header(len(m))), bytes.NewReader(m))), nil
	}
	r.Body, _ = r.GetBody()
	r.ContentLength = int64(HeaderLen + len(m))
	r.Header["Content-Type"] = []string{"application/grpc"}
	r.Header["Te"] = []string{"trailers"}
	r.Header["Accept-Encoding"] = []string{"identity"}
	r.Header["User-Agent"] = []string{"modelserve-gateway"}
	if deadline, ok := ctx.Deadline(); ok {
		r.Header["Grpc-Timeout"] = []string{timeout(time.Until(deadline))}
	}
	return r, nil
}

// timeout writes a duration as Grpc-Timeout has it: at most eight digits.
func timeout(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Nanosecond, "n"}, {time.Microsecond, "u"}, {time.Millisecond, "m"}, {time.Second, "S"}, {time.Minute, "M"}} {
		if d < 1e8*unit.size {
			return strconv.FormatInt(max(int64(d/unit.size), 0), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(d/time.Hour), 10) + "H"
}

// receive reads an answer to its end, which is one message of at most most bytes,
// and closes it. An error that the server's status says is a *connect.Error of
// the wire (connect.IsWireError); any other is of an answer that is not whole, or
// not gRPC.
func receive(res *http.Response, most int64, room *share) (Message, error) {
	defer res.Body.Close()
	m, err := receiveWhole(res, most, room)
	if err != nil { // a stream goes on for longer than its answers
		room.release(int64(cap(m)))
		return nil, err
	}
	return m, nil
}

// receiveWhole is receive, which returns with an error what it has read before.
func receiveWhole(res *http.Response, most int64, room *share) (Message, error) {
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("expected a gRPC answer, got HTTP status %d", res.StatusCode)
	case !media.IsGRPC(res.Header):
		return nil, errors.New("expected a gRPC answer, got another content type")
	}
	if e, ok := problemgrpc.Status(res.Header); ok && e != nil {
		return nil, e
	}
	m, err := read(res.Body, most, "", room)
	if err == nil {
		var more int
		if more, err = res.Body.Read(make([]byte, 1)); more > 0 {
			return m, errors.New("expected one message, got more")
		}
	}
	var known *problem.Error
	if errors.As(err, &known) && known.Code == problem.Overloaded {
		return nil, err
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errEnd) {
		return m, fmt.Errorf("read the answer: %w", err)
	}
	e, ok := problemgrpc.Status(res.Trailer)
	switch {
	case !ok:
		return m, errors.New("the answer ended without a status")
	case e != nil:
		return m, e
	case m == nil:
		return nil, errors.New("expected one message, got none")
	}
	return m, nil
}
