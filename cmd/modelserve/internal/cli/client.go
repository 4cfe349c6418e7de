package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// maxAnswer bounds what is read of an answer of the control API.
const maxAnswer = 8 << 20

// client calls the platform's control API.
type client struct {
	address
	http   *http.Client
	logins *loginFile // whose token is used where there is no key; nil is none
}

func (a *app) client() (*client, error) {
	addr, err := a.address()
	if err != nil {
		return nil, err
	}
	return a.clientOf(addr), nil
}

// clientOf calls the platform at addr, with the user's login where there is no key.
func (a *app) clientOf(addr address) *client {
	c := newClient(addr)
	if file, err := a.loginFile(); err == nil { // else nobody logged in
		c.logins = &file
	}
	return c
}

func newClient(addr address) *client {
	return &client{address: addr, http: &http.Client{
		Timeout: 30 * time.Second,
		// The API does not redirect; whoever does is not it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// call sends body as JSON, if it is not nil, and reads the answer into out, if
// it is not nil. An error has the platform's message, and what to do.
func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(resp, data)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s does not answer like ModelServe (%w); check --server", c.server, err)
	}
	return nil
}

func (c *client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	credential, err := c.credential(ctx)
	if err != nil {
		return nil, err
	}
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	return req, nil
}

// stream copies an answer that may be long, however long it takes.
func (c *client) stream(ctx context.Context, path string, to io.Writer) error {
	req, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	unhurried := *c.http
	unhurried.Timeout = 0
	resp, err := unhurried.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted && resp.Header.Get("Location") != "" { // a function's own 202 has none
		return errors.New("it has not ended: there is no result yet")
	}
	if resp.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("read the answer of %s: %w", c.server, err)
		}
		return c.refused(resp, data)
	}
	if _, err := io.Copy(to, resp.Body); err != nil {
		return fmt.Errorf("the answer of %s broke off, and what was written is not all: %w", c.server, err)
	}
	return nil
}

// mostAPage is how much a list gives at once.
const mostAPage = 200

// pages reads a list of the control API, to its end, or as many as most where that
// is not 0. noun is the field that the list is in.
func pages[T any](ctx context.Context, c *client, path, noun string, query url.Values, most int) ([]T, error) {
	all := []T{}
	asked := url.Values{}
	maps.Copy(asked, query)
	for {
		limit := mostAPage
		if most > 0 {
			limit = min(limit, most-len(all))
		}
		asked.Set("limit", strconv.Itoa(limit))
		var page map[string]json.RawMessage
		if err := c.call(ctx, http.MethodGet, path+"?"+asked.Encode(), nil, &page); err != nil {
			return nil, err
		}
		var items []T
		var next string
		err := json.Unmarshal(page[noun], &items)
		if raw := page["next_cursor"]; err == nil && raw != nil {
			err = json.Unmarshal(raw, &next)
		}
		if err != nil {
			return nil, fmt.Errorf("%s does not answer like ModelServe (%w); check --server", c.server, err)
		}
		all = append(all, items...)
		if next == "" || next == asked.Get("cursor") || most > 0 && len(all) >= most {
			return all, nil
		}
		asked.Set("cursor", next)
	}
}

// credential is the key, or else the login's token; "" is neither.
func (c *client) credential(ctx context.Context) (string, error) {
	if c.key != "" || c.logins == nil {
		return c.key, nil
	}
	return c.logins.token(ctx, c.server)
}

// load has a model's version that calls without one reach loaded, and returns
// when it is.
func (c *client) load(ctx context.Context, model string) error {
	return c.call(ctx, http.MethodPost, "/v2/repository/models/"+model+"/load", nil, nil)
}

// unreachable is the error when nothing answers, with what to do.
func (c *client) unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("no platform answers at %s (%w); start it with `make run` or `modelserve dev`, or name its address with --server", c.server, err)
	}
	return fmt.Errorf("call %s: %w", c.server, err)
}

// refused turns an answer that is not 2xx into the problem it holds.
// credential is what was sent.
func (c *client) refused(resp *http.Response, data []byte) error {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var body struct {
		Detail    string          `json:"detail"`
		Error     string          `json:"error"` // what detail is in /v2
		Code      problem.Code    `json:"code"`
		RequestID string          `json:"request_id"`
		Errors    []problem.Field `json:"errors"`
	}
	isProblem := err == nil && (media == "application/problem+json" || media == "application/json") && json.Unmarshal(data, &body) == nil
	body.Detail = firstOf(body.Detail, body.Error)
	if !isProblem || body.Code == "" || body.Detail == "" {
		return fmt.Errorf("%s answered %s, not as ModelServe does; check --server", c.server, resp.Status)
	}
	refused := &problem.Error{Code: body.Code, Detail: body.Detail, Fields: body.Errors}
	switch {
	case body.Code == problem.Unauthenticated && (resp.Request == nil || resp.Request.Header.Get("Authorization") == ""):
		return fmt.Errorf("%w; give a key with --key or MODELSERVE_KEY, run `modelserve login`, or run this where .modelserve/key is", refused)
	case body.Code == problem.Unauthenticated && c.key == "":
		return fmt.Errorf("%w; %s does not take the login's token: run `modelserve login` again", refused, c.server)
	case body.Code == problem.Unauthenticated:
		return fmt.Errorf("%w; %s does not know this key: check --key, MODELSERVE_KEY and .modelserve/key", refused, c.server)
	case body.Code == problem.PermissionDenied:
		return fmt.Errorf("%w; `modelserve access explain` says what a key may do, and why", refused)
	case body.Code == problem.Internal && body.RequestID != "":
		return fmt.Errorf("%w (request id %s)", refused, body.RequestID)
	}
	return refused
}
