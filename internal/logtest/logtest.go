// Package logtest is a log for tests, which read it while it is written. Nothing
// but tests imports it.
package logtest

import (
	"strings"
	"sync"
)

// Log keeps what is written to it. The zero Log is empty; it is for any number of
// goroutines.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
