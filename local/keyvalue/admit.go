package keyvalue

import (
	"bufio"
	"bytes"
	"context"
	"crypto/subtle"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds of a connection's first command. Go-redis' has seven words.
const (
	firstWithin = 5 * time.Second
	maxWords    = 16
	maxWord     = 512 // bytes
)

// refusal is what who is not let in reads, in Redis' words.
type refusal string

const (
	errUnauthenticated refusal = "NOAUTH Authentication required."
	errWrongPassword   refusal = "WRONGPASS invalid username-password pair or user is disabled."
)

// Error implements error.
func (r refusal) Error() string { return string(r) }

// admit serves a connection whose first command has the password. Nothing else reaches
// miniredis: it trusts who sends, and some of what may be sent ends its process.
func (s *Store) admit(ctx context.Context, conn net.Conn) {
	uncut := context.AfterFunc(ctx, func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(firstWithin)) // where it fails, what follows does too
	r := bufio.NewReader(conn)
	words, sent, err := first(r)
	if err == nil {
		err = s.allows(words)
	}
	if err != nil {
		_, _ = io.WriteString(conn, "-"+err.Error()+"\r\n") // they may have gone
		_ = conn.Close()
		uncut()
		return
	}
	if !uncut() || conn.SetDeadline(time.Time{}) != nil {
		_ = conn.Close()
		return
	}
	s.server.ServeConn(admitted{conn, io.MultiReader(bytes.NewReader(sent), r)})
}

// admitted is a connection from its first byte on.
type admitted struct {
	net.Conn

	from io.Reader
}

// Read implements io.Reader.
func (a admitted) Read(p []byte) (int, error) { return a.from.Read(p) }

// first reads a connection's first command: its words, and as it was sent. What is no
// command, or none that authenticates, is errUnauthenticated.
func first(r *bufio.Reader) (words []string, sent []byte, err error) {
	count, err := header(r, '*', &sent)
	if err != nil || count < 1 || count > maxWords {
		return nil, nil, errUnauthenticated
	}
	for range count {
		size, err := header(r, '$', &sent)
		if err != nil || size < 0 || size > maxWord {
			return nil, nil, errUnauthenticated
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(r, word); err != nil || !bytes.HasSuffix(word, []byte("\r\n")) {
			return nil, nil, errUnauthenticated
		}
		sent = append(sent, word...)
		words = append(words, string(word[:size]))
	}
	return words, sent, nil
}

// header reads the number of a line such as "*3\r\n", and adds the line to what was sent.
func header(r *bufio.Reader, kind byte, sent *[]byte) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err //nolint:wrapcheck // the caller has one for all
	}
	*sent = append(*sent, line...)
	number, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || number == "" || number[0] != kind {
		return 0, errUnauthenticated
	}
	return strconv.Atoi(number[1:]) //nolint:wrapcheck // as above
}

// allows is nil for AUTH [default] PASSWORD and HELLO [version AUTH default PASSWORD …].
func (s *Store) allows(words []string) error {
	command, words := strings.ToUpper(words[0]), words[1:]
	switch {
	case command == "HELLO" && len(words) >= 4 && strings.EqualFold(words[1], "AUTH"):
		words = words[2:4]
	case command == "AUTH" && len(words) == 1:
		words = []string{"default", words[0]}
	case command == "AUTH" && len(words) == 2:
	default:
		return errUnauthenticated
	}
	if words[0] != "default" || subtle.ConstantTimeCompare([]byte(words[1]), []byte(s.password)) != 1 {
		return errWrongPassword
	}
	return nil
}
