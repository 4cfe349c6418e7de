package keyvalue_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/local/keyvalue"
)

// TestNothingIsTakenWithoutThePassword holds that who has no password is answered that,
// whatever they send, and ends nothing: the second and the third would end the process
// if they reached miniredis.
func TestNothingIsTakenWithoutThePassword(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir())
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	for name, tc := range map[string]struct{ send, want string }{
		"a command":              {"*1\r\n$4\r\nPING\r\n", "-NOAUTH "},
		"no word":                {"*0\r\n", "-NOAUTH "},
		"a word too long":        {"*1\r\n$9223372036854775807\r\n", "-NOAUTH "},
		"a word of no length":    {"*1\r\n$-1\r\n", "-NOAUTH "},
		"too many words":         {"*1000000000\r\n", "-NOAUTH "},
		"no number":              {"*\r\n", "-NOAUTH "},
		"a line that never ends": {strings.Repeat("x", 1<<20), "-NOAUTH "},
		"a web page":             {"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "-NOAUTH "},
		"HELLO alone":            {"*1\r\n$5\r\nHELLO\r\n", "-NOAUTH "},
		"another password":       {"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "-WRONGPASS "},
		"another user":           {"*3\r\n$4\r\nAUTH\r\n$1\r\nx\r\n$26\r\n" + password + "\r\n", "-WRONGPASS "},
		"the password":           {"*2\r\n$4\r\nauth\r\n$26\r\n" + password + "\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n", "+OK\r\n+PONG\r\n"},
		"the user and it":        {"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$26\r\n" + password + "\r\n*1\r\n$4\r\nQUIT\r\n", "+OK\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, tc.send) // it may be closed before all is sent
			got, _ := io.ReadAll(conn)           // and reset
			if !bytes.HasPrefix(got, []byte(tc.want)) && len(tc.send) < 1000 {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
			must(t, o.client(t), "PING")
		})
	}
}

func TestGoRedisIsLetIn(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir())
	for name, change := range map[string]func(*redis.Options){
		"as it is":   func(*redis.Options) {},
		"RESP2":      func(r *redis.Options) { r.Protocol = 2 },
		"with names": func(r *redis.Options) { r.ClientName = "gateway" },
		"no user":    func(r *redis.Options) { r.Username = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, err := redis.ParseURL(o.URL)
			if err != nil {
				t.Fatal(err)
			}
			change(options)
			client := redis.NewClient(options)
			defer client.Close()
			must(t, client, "SET", name, "value")
		})
	}
}

// TestCloseWaitsForNobody holds that who is connected and silent keeps nobody from
// closing it.
func TestCloseWaitsForNobody(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir())
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := o.client(t)
	must(t, client, "PING")
	o.close(t)
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("it is still open")
	}
}

func FuzzFirst(f *testing.F) {
	for _, text := range []string{"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "*0\r\n", "*1\r\n$-1\r\n", "*1\r\n$99\r\n", "POST / HTTP/1.1\r\n", "*1\r\n$1\r\nxyz"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		words, sent, err := keyvalue.First(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		if len(words) == 0 || !bytes.HasPrefix(text, sent) {
			t.Errorf("%q: words %q, sent as %q", text, words, sent)
		}
	})
}
