package record

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"
)

// Cursor is a place in a list that is sorted by time and then by name, newest first:
// behind the row of that time and id. The zero one is before all rows.
type Cursor struct {
	At time.Time // whole milliseconds
	ID string
}

// IsZero reports whether c is before all rows.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// ErrCursor is of a text that is no cursor.
var ErrCursor = errors.New("it is not a cursor of a page before")

const (
	cursorVersion = 1
	maxCursorID   = 512 // bytes
)

// String is the cursor as clients have it: opaque; "" is the zero one. It holds nothing
// that its row does not show, and selects no row by itself: lists are of a tenant.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	raw := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.At.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.ID...))
}

// ParseCursor reads what String wrote, or returns ErrCursor.
func ParseCursor(text string) (Cursor, error) {
	if text == "" {
		return Cursor{}, nil
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(9+maxCursorID) {
		return Cursor{}, ErrCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) <= 9 || raw[0] != cursorVersion {
		return Cursor{}, ErrCursor
	}
	ms := int64(binary.BigEndian.Uint64(raw[1:9]))
	c := Cursor{At: time.UnixMilli(ms).UTC(), ID: string(raw[9:])}
	if ms <= 0 || ms > maxMillis || !utf8.ValidString(c.ID) || containsZero(c.ID) || c.String() != text {
		return Cursor{}, ErrCursor
	}
	return c, nil
}

// maxMillis is the last moment of the year 9999.
const maxMillis = 253_402_300_799_999

func containsZero(text string) bool {
	for i := range len(text) {
		if text[i] == 0 {
			return true
		}
	}
	return false
}
