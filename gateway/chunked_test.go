package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestAChunkedRequestEndsItsConnection holds that what follows a request whose length
// two readers could read differently is never taken for another request.
func TestAChunkedRequestEndsItsConnection(t *testing.T) {
	t.Parallel()
	for name, lengths := range map[string]string{
		"with a length beside it": "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
		"with a length behind it": "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
		"alone":                   "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // the test looks at what came
				_, _ = fmt.Fprintf(rw, "%d bytes", len(body))
			})
			conn := w.raw()
			key := "X-API-Key: " + w.admin + "\r\n"
			conn.send("POST /v2/models/iris/infer HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n2\r\n{}\r\n0\r\n\r\nGET /v1/keys HTTP/1.1\r\nHost: localhost\r\n%s\r\n", key, lengths, key)
			answers, err := io.ReadAll(conn.conn) // the server ends it
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(answers), "HTTP/1.1 "); n != 1 || !strings.Contains(string(answers), "2 bytes") || !strings.Contains(string(answers), "Connection: close") {
				t.Errorf("%d answers: %s", n, answers)
			}
		})
	}
}
