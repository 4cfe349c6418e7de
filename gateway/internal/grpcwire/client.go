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

// receive reads an answer to its end, which is one message, into memory that place
// has for its length in bytes. An error that the server's status says is a
// *connect.Error of the wire (connect.IsWireError), and those of place are returned
// as they are; any other is of an answer that is not whole, or not gRPC.
func receive(res *http.Response, place func(length int64) (Message, error)) (Message, error) {
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, problem.New(problem.BadGateway, "the function answered with HTTP status %d; expected a gRPC answer", res.StatusCode)
	case !media.IsGRPC(res.Header):
		return nil, problem.New(problem.BadGateway, "the function answered with another content type; expected a gRPC answer")
	}
	if e, ok := problemgrpc.Status(res.Header); ok && e != nil {
		return nil, e
	}
	m, err := readAnswer(res.Body, place)
	if err != nil && !errors.Is(err, errEnd) {
		return nil, err
	}
	e, ok := problemgrpc.Status(res.Trailer)
	switch {
	case !ok:
		return nil, errors.New("the answer ended without a status")
	case e != nil:
		return nil, e
	case m == nil:
		return nil, errors.New("expected one message, got none")
	}
	return m, nil
}

// readAnswer reads the one message of an answer, errEnd where there is none.
func readAnswer(body io.Reader, place func(length int64) (Message, error)) (Message, error) {
	head, err := readHead(body)
	switch {
	case errors.Is(err, errEnd):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case head[0] != 0:
		return nil, errors.New("expected an answer that is not compressed")
	}
	m, err := place(head.length())
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(body, m); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	switch n, err := body.Read(make([]byte, 1)); {
	case n > 0:
		return nil, errors.New("expected one message, got more")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return m, nil
}
