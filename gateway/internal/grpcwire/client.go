package grpcwire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// NewRequest is a call of a procedure (/package.Service/Method) with one message.
// Its body can be read anew as often as it is asked for.
func NewRequest(ctx context.Context, procedure string, m Message) (*http.Request, error) {
	r, err := newRequest(ctx, procedure)
	if err != nil {
		return nil, err
	}
	r.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(header(len(m))), bytes.NewReader(m))), nil
	}
	r.Body, _ = r.GetBody()
	r.ContentLength = int64(HeaderLen + len(m))
	return r, nil
}

// NewPassing is a call of a procedure with a message that passes, whose body is read
// once.
func NewPassing(ctx context.Context, procedure string, p *Passing) (*http.Request, error) {
	r, err := newRequest(ctx, procedure)
	if err != nil {
		return nil, err
	}
	r.Body, r.ContentLength = p, p.length
	return r, nil
}

func newRequest(ctx context.Context, procedure string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function"+procedure, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", procedure, err)
	}
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
