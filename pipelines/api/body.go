package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/modelserveai/modelserve/pipelines/start"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// perByte is how many bytes of memory one of a body takes: it, its compact form, and
// while that is written the form with escapes.
const perByte = 3

// readBody reads a body of at most so many bytes, which is charged before it is
// allocated.
func (c *call) readBody(ctx context.Context, most int64) ([]byte, error) {
	if c.ContentLength > most {
		return nil, tooLarge(most)
	}
	const least = 64 << 10 // bytes that are made room for, where it is not known how many come
	size := c.ContentLength
	if size < 0 {
		size = min(least, most)
	}
	if err := c.memory.Take(ctx, perByte*size); err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	body := make([]byte, 0, size+1) // one more, to see that it has ended
	for {
		if len(body) == cap(body) {
			more := min(max(size, least), most-size) // more than 0: a longer body was refused
			if err := c.memory.Take(ctx, perByte*more); err != nil {
				return nil, err //nolint:wrapcheck // a problem
			}
			size += more
			body = append(make([]byte, 0, size+1), body...)
		}
		n, err := c.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		var known *problem.Error // what the gateway found, in the same process
		switch {
		case int64(len(body)) > most:
			return nil, tooLarge(most)
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil && ctx.Err() != nil:
			return nil, ctx.Err() //nolint:wrapcheck // the caller's
		case errors.As(err, &known):
			return nil, known
		case err != nil:
			return nil, problem.New(problem.MalformedBody, "the body broke off after %d bytes", len(body))
		}
	}
}

func tooLarge(most int64) error {
	return problem.New(problem.PayloadTooLarge, "the body is larger than %d bytes; send larger inputs by reference", most)
}

// jsonType is the content type whose bodies are inputs as they are.
const jsonType = "application/json"

// insteadOfForm is what to send, where a form is refused.
const insteadOfForm = "send the input as application/json, or the bytes themselves with their content type"

// readInput reads the body of a start. What comes as JSON is JSON by the rules of every
// reader here; what `curl -d` sends is where it is JSON. No body at all is null.
func (a *API) readInput(ctx context.Context, c *call) (*start.Input, error) {
	media, err := infer.MediaType(c.Header.Values("Content-Type"))
	if err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	if err := infer.RefuseForm(media, nil, insteadOfForm); err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	if encoding := strings.ToLower(strings.Join(c.Header.Values("Content-Encoding"), ", ")); encoding != "" && encoding != "identity" {
		return nil, problem.New(problem.UnsupportedMedia, "expected a body without a Content-Encoding")
	}
	in := &start.Input{}
	if in.Body, err = c.readBody(ctx, a.cfg.MaxBody); err != nil {
		return nil, err
	}
	if err := infer.RefuseForm(media, in.Body, insteadOfForm); err != nil {
		return nil, err //nolint:wrapcheck // a problem
	}
	if len(in.Body) == 0 && media == "" {
		in.JSON = json.RawMessage("null")
		return in, nil
	}
	const curls = "application/x-www-form-urlencoded"
	var fault error
	if media == jsonType || media == curls {
		fault = infer.CheckJSON(in.Body, infer.Limits{})
	}
	switch {
	case media == jsonType && fault != nil:
		return nil, fault //nolint:wrapcheck // a problem
	case media == jsonType, media == curls && fault == nil:
		in.JSON = bytes.TrimSpace(infer.WithoutMark(in.Body))
	default:
		in.Media = mediaOf(media)
	}
	return in, nil
}

// maxMedia bounds a content type that is kept, in bytes.
const maxMedia = 127

// mediaOf is the content type that a body is stored with.
func mediaOf(media string) string {
	kind, sub, ok := strings.Cut(media, "/")
	if !ok || kind == "" || sub == "" || len(media) > maxMedia || strings.ContainsFunc(media, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),:;<=>?@[\]{}`, r)
	}) || media == "application/x-www-form-urlencoded" {
		return "application/octet-stream"
	}
	return media
}

// writeJSON answers with a body.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	write(w, status, jsonType, append(text, '\n'))
	return nil
}
