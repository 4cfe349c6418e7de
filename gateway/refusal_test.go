package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

// TestARefusalReachesWhoSendsFirst holds that a client that reads nothing before
// all of its body is sent finds out why it was refused, and not that the
// connection is broken.
func TestARefusalReachesWhoSendsFirst(t *testing.T) {
	t.Parallel()
	const megabyte = 1000 * 1000
	for name, tc := range map[string]struct {
		path, host string
		key        bool
		size       int // in megabytes
		chunked    bool
		status     int
	}{
		"a little too large":       {"/v2/models/iris/infer", "localhost", true, 34, false, 413},
		"much too large":           {"/v2/models/iris/infer", "localhost", true, 100, false, 413},
		"too large, in chunks":     {"/v2/models/iris/infer", "localhost", true, 40, true, 413},
		"too large for a function": {"/", "ocr.default.localhost", true, 50, false, 413},
		"too large, without a key": {"/v2/models/iris/infer", "localhost", false, 50, false, 413},
		"without a key":            {"/v2/models/iris/infer", "localhost", false, 4, false, 401},
		"without a key, large":     {"/v2/models/iris/infer", "localhost", false, 32, false, 401},
		"without a key, in chunks": {"/v2/models/iris/infer", "localhost", false, 12, true, 401},
		"no such model":            {"/v2/models/none/infer", "localhost", true, 4, false, 404},
		"no such URL":              {"/nowhere", "localhost", true, 12, false, 404},
		"no such function":         {"/", "none.default.localhost", true, 32, true, 404},
		"not by this method":       {"/v2/models/iris", "localhost", true, 8, false, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.serve("pool", discard)
			w.serve("ocr", discard)
			conn := w.raw()
			conn.send("POST %s HTTP/1.1\r\nHost: %s\r\n", tc.path, tc.host)
			if tc.key {
				conn.send("X-API-Key: %s\r\n", w.admin)
			}
			some := make([]byte, megabyte)
			before, after := "", ""
			if tc.chunked {
				conn.send("Transfer-Encoding: chunked\r\n\r\n")
				before, after = fmt.Sprintf("%x\r\n", megabyte), "\r\n"
			} else {
				conn.send("Content-Length: %d\r\n\r\n", tc.size*megabyte)
			}
			for range tc.size {
				conn.send("%s%s%s", before, some, after)
			}
			if tc.chunked {
				conn.send("0\r\n\r\n")
			}
			if got := conn.receive(); got.status != tc.status || got.code() == "" {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

func discard(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

// TestARefusalOverHTTP2LeavesTheConnection holds that a body that is too large
// fails its own stream, and none of those beside it.
func TestARefusalOverHTTP2LeavesTheConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	finish := make(chan struct{})
	w.serve("pool", func(rw http.ResponseWriter, r *http.Request) {
		discard(rw, r)
		if strings.HasSuffix(r.URL.Path, "/infer") {
			_ = http.NewResponseController(rw).Flush()
			<-finish
			_, _ = io.WriteString(rw, "done")
		}
	})
	client := w.h2c()
	connections := map[string]bool{}
	call := func(key string, body io.Reader) (status int, read <-chan answer) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(got httptrace.GotConnInfo) { connections[got.Conn.LocalAddr().String()] = true },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+"/v2/models/iris/infer", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		res, err := client.Do(req) //nolint:bodyclose // who reads it closes it
		if err != nil {
			t.Fatal(err)
		}
		all := make(chan answer, 1)
		go func() {
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			all <- answer{body: string(body)}
		}()
		return res.StatusCode, all
	}
	_, before := call(w.admin, strings.NewReader("{}"))
	large := bytes.NewReader(make([]byte, 40<<20))
	for name, tc := range map[string]struct {
		key    string
		body   io.Reader
		status int
	}{
		"too large, announced": {w.admin, large, 413},
		"too large":            {w.admin, io.MultiReader(bytes.NewReader(make([]byte, 40<<20))), 413},
		"without a key":        {"none", bytes.NewReader(make([]byte, 12<<20)), 401},
	} {
		status, read := call(tc.key, tc.body)
		if got := <-read; status != tc.status || got.code() == "" {
			t.Errorf("%s: %d %s", name, status, got.body)
		}
	}
	_, after := call(w.admin, strings.NewReader("{}"))
	close(finish)
	for _, read := range []<-chan answer{before, after} {
		if got := <-read; got.body != "done" {
			t.Errorf("%q", got.body)
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d connections were needed", len(connections))
	}
}
