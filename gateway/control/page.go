package control

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// page is what every list takes.
type page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" pattern:"^[A-Za-z0-9_-]*$" doc:"the next_cursor of the page before, unchanged"`
}

func (p *page) after() (auth.Cursor, error) {
	if p.Cursor == "" {
		return auth.Cursor{}, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	at, id, ok := strings.Cut(string(data), "/")
	ms, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || !ok || id == "" {
		return auth.Cursor{}, errCursor()
	}
	return auth.Cursor{CreatedAt: time.UnixMilli(ms).UTC(), ID: id}, nil
}

// afterText is the cursor of a list that is in order of names; "" is none.
func (p *page) afterText() (string, error) {
	name, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(name) > 0 && !auth.IsLabel(string(name)) {
		return "", errCursor()
	}
	return string(name), nil
}

func formatText(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

func errCursor() error {
	return problem.Invalid("cursor", "expected the next_cursor of the page before, unchanged")
}

func formatCursor(c auth.Cursor) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.CreatedAt.UnixMilli(), 10) + "/" + c.ID))
}
