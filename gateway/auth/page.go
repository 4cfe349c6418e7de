package auth

import (
	"errors"
	"time"
)

// ErrNoKey is what a list of keys returns for an id that it does not have.
var ErrNoKey = errors.New("no such key")

// Page asks for part of a list of keys, newest first.
type Page struct {
	Tenant string // "" is every tenant
	After  Cursor // the last key of the page before; the zero Cursor is the first page
	Limit  int    // at least 1
}

// Cursor is a key's place in a list: times may be equal, so the id decides.
type Cursor struct {
	CreatedAt time.Time
	ID        string
}
