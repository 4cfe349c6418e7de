package infer

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"time"
)

// TimeoutOf is the parameter timeout of a request whose JSON is text; 0 where it
// has none, or none that can be read. It reads no further than to the end of the
// request's parameters, keeps none of it, and does not check whether the rest is
// as it should be.
func TimeoutOf(text io.Reader) time.Duration {
	s := &scanner{from: text, window: make([]byte, 0, 8<<10)}
	if s.peek() == 0xEF { // a byte order mark
		s.at += len("\ufeff")
	}
	var timeout int64
	s.members(func(name []byte) bool {
		if string(name) != "parameters" {
			return s.skip()
		}
		ended := s.members(func(name []byte) bool {
			if string(name) != "timeout" {
				return s.skip()
			}
			n, ok := s.natural()
			timeout = n
			return ok
		})
		if !ended {
			timeout = 0
		}
		return false // what follows does not matter
	})
	return microseconds(timeout)
}

// scanner looks for members of objects in JSON that it reads piece by piece. Each
// of its methods is false, or 0, once the text has ended, or is none.
type scanner struct {
	from   io.Reader
	window []byte
	at     int // in window
	failed bool
	text   []byte // of the last name
}

// peek is the next byte; 0 is none.
func (s *scanner) peek() byte {
	for s.at >= len(s.window) {
		if s.failed {
			return 0
		}
		s.at -= len(s.window) // beyond the window where it was skipped
		n, err := s.from.Read(s.window[:cap(s.window)])
		s.window, s.failed = s.window[:n], err != nil
	}
	return s.window[s.at]
}

// next is the next byte that is no space; 0 is none.
func (s *scanner) next() byte {
	for {
		switch c := s.peek(); c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

// take reads a byte that is no space, if it is c.
func (s *scanner) take(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// members calls value where the value of each member of an object begins, until
// that is false. It is true at the object's end.
func (s *scanner) members(value func(name []byte) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		name, ok := s.name()
		if !ok || !s.take(':') || !value(name) {
			return false
		}
		if !s.take(',') {
			return s.take('}')
		}
	}
}

// longestName is more than a name takes that is looked for, each letter escaped.
const longestName = 128

// name reads a string, which is empty where it is a long one, and valid until the next
// name is read.
func (s *scanner) name() (name []byte, ok bool) {
	if s.next() != '"' {
		return nil, false
	}
	s.text = s.text[:0]
	escaped := false
	if !s.string(func(c byte) {
		escaped = escaped || c == '\\'
		if len(s.text) <= longestName {
			s.text = append(s.text, c)
		}
	}) {
		return nil, false
	}
	switch n := len(s.text); {
	case n > longestName:
		return nil, true
	case !escaped:
		return s.text[1 : n-1], true
	}
	var plain string
	if json.Unmarshal(s.text, &plain) != nil {
		return nil, true
	}
	return []byte(plain), true
}

// string reads a string, which begins here, and calls each with its bytes, quotes
// and all.
func (s *scanner) string(each func(c byte)) bool {
	for n, escaped := 0, false; ; n++ {
		c := s.peek()
		if c == 0 {
			return false
		}
		s.at++
		if each != nil {
			each(c)
		}
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"' && n > 0:
			return true
		}
	}
}

// skip reads a value: all up to the comma, or the end of what it is in, that
// follows it.
func (s *scanner) skip() bool {
	s.next()
	for depth := 0; ; {
		switch c := s.peek(); c {
		case 0:
			return false
		case '"':
			if !s.string(nil) {
				return false
			}
			continue
		case '[', '{':
			depth++
		case ']', '}', ',':
			if depth == 0 {
				return true
			}
			if c != ',' {
				depth--
			}
		}
		s.at++
	}
}

// natural reads an integer that is not negative, also one that is written with a
// point or an exponent.
func (s *scanner) natural() (int64, bool) {
	const most = 64 // bytes; longer ones are left to who reads the whole request
	var number []byte
	for c := s.next(); c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'; c = s.peek() {
		if len(number) == most {
			return 0, false
		}
		number = append(number, c)
		s.at++
	}
	if n, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		return n, n >= 0
	}
	v, err := strconv.ParseFloat(string(number), 64)
	if err != nil || v < 0 || v >= 1<<63 || v != math.Trunc(v) {
		return 0, false
	}
	return int64(v), true
}
