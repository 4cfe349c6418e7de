package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sending is a request that is not plain JSON, or whose answer may take its time.
type sending struct {
	method, path string // the path with its query
	body         []byte
	contentType  string
	header       http.Header
	patience     time.Duration // for the answer; 0 is the client's own
}

// send sends it and reads the answer into out. An error has the platform's message, and
// what to do.
func (c *client) send(ctx context.Context, s *sending, out any) (status int, err error) {
	resp, err := c.open(ctx, s)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return resp.StatusCode, fmt.Errorf("%s does not answer like ModelServe (%w); check --server", c.server, err)
	}
	return resp.StatusCode, nil
}

// endless is a patience that never ends.
const endless = -1

// open sends it and returns an answer of success, whose body is to be closed.
func (c *client) open(ctx context.Context, s *sending) (*http.Response, error) {
	req, err := c.request(ctx, s.method, s.path, nil)
	if err != nil {
		return nil, err
	}
	if s.body != nil {
		req.Body = io.NopCloser(bytes.NewReader(s.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.body)), nil }
		req.ContentLength = int64(len(s.body))
		req.Header.Set("Content-Type", s.contentType)
	}
	for name, values := range s.header {
		req.Header[name] = values
	}
	patient := *c.http
	switch {
	case s.patience == endless:
		patient.Timeout = 0
	case s.patience > 0:
		patient.Timeout = s.patience
	}
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	return nil, c.refused(resp, data)
}
