package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hostileInput sends what nobody should, and wants a 4xx in the right format
// that names what was wrong, and an answer to the next good call.
func hostileInput(t *testing.T, p *platform) {
	const infer = "/v2/models/text-orient/infer"
	page := testdata(t, "functions/text-detect/testdata/page.png")
	image := map[string]string{"Content-Type": "image/png"}
	asJSON := map[string]string{"Content-Type": "application/json"}
	deep := []byte(strings.Repeat("[", 100000) + strings.Repeat("]", 100000))
	native := func(function string, header map[string]string, body []byte) request {
		return request{method: http.MethodPost, host: p.Host(function), path: "/", header: header, body: body}
	}
	v2 := func(body string) request { return request{path: infer, body: []byte(body)} }
	input := func(member string) request {
		return v2(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3,48,192],` + member + `}]}`)
	}
	for name, tc := range map[string]struct {
		request request
		status  int
		want    string
	}{
		"an empty image":               {native("text-detect", image, []byte{}), 400, "image|body"},
		"a truncated image":            {native("text-detect", image, page[:len(page)/2]), 400, "image|body"},
		"no image at all":              {native("text-detect", image, []byte("hello")), 400, "PNG"},
		"a 40,000 by 40,000 PNG":       {native("text-detect", image, hugePNG()), 413, "40000"},
		"JSON without an image":        {native("text-detect", asJSON, []byte(`{}`)), 400, "image"},
		"JSON with another member":     {native("text-detect", asJSON, []byte(`{"picture":"x"}`)), 400, "picture"},
		"JSON with a member twice":     {native("text-detect", asJSON, []byte(`{"image":"eA==","image":"eA=="}`)), 400, "image"},
		"JSON that is not base64":      {native("text-detect", asJSON, []byte(`{"image":"***"}`)), 400, "image"},
		"a ref out of the bucket":      {native("text-detect", asJSON, []byte(`{"image":{"ref":"s3://other/x"}}`)), 400, "image|ref|s3"},
		"a ref to a model":             {native("text-detect", asJSON, []byte(`{"image":{"ref":"s3://modelserve/models/text-detect/1/model.json"}}`)), 400, "image|ref|inputs"},
		"a ref that climbs":            {native("text-detect", asJSON, []byte(`{"image":{"ref":"s3://modelserve/inputs/../models/x"}}`)), 400, "image|ref"},
		"deep JSON, native":            {native("text-detect", asJSON, deep), 400, "."},
		"polygons of three points":     {native("text-recognize", asJSON, []byte(`{"image":"eA==","polygons":[[[0,0],[1,1],[2,2]]]}`)), 400, "polygons"},
		"a WAV longer than its file":   {native("speech-detect", map[string]string{"Content-Type": "audio/wav"}, overlongWAV()), 400, "data|length|bytes"},
		"a WAV cut in its header":      {native("speech-detect", map[string]string{"Content-Type": "audio/wav"}, overlongWAV()[:20]), 400, "."},
		"NaN":                          {input(`"data":[NaN]`), 400, `inputs\[0\].data`},
		"1e999":                        {input(`"data":[1e999]`), 400, `inputs\[0\].data`},
		"duplicate keys":               {v2(`{"inputs":[],"inputs":[]}`), 400, "inputs"},
		"deep JSON":                    {request{path: infer, body: deep}, 400, "."},
		"cut JSON":                     {v2(`{"inputs":[{"name":"x"`), 400, "."},
		"no inputs":                    {v2(`{}`), 400, "inputs"},
		"a wrong datatype":             {v2(`{"inputs":[{"name":"x","datatype":"INT32","shape":[1,3,48,192],"data":[1]}]}`), 400, "FP32|data"},
		"an unknown datatype":          {v2(`{"inputs":[{"name":"x","datatype":"FP31","shape":[1],"data":[1]}]}`), 400, "datatype"},
		"a wrong shape":                {v2(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}`), 400, "shape"},
		"a negative shape":             {v2(`{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,3],"data":[1]}]}`), 400, "shape"},
		"a shape that overflows":       {v2(`{"inputs":[{"name":"x","datatype":"FP32","shape":[4294967296,4294967296],"data":[1]}]}`), 400, "shape"},
		"too few elements":             {input(`"data":[1,2,3]`), 400, `inputs\[0\]`},
		"an unknown input":             {v2(`{"inputs":[{"name":"zzz","datatype":"FP32","shape":[1],"data":[1]}]}`), 400, "zzz"},
		"an unknown output":            {v2(`{"inputs":[],"outputs":[{"name":"zzz"}]}`), 400, "inputs|zzz"},
		"a binary header too long":     {request{path: infer, body: []byte("{}"), header: map[string]string{"Inference-Header-Content-Length": "3000000000"}}, 400, "Inference-Header-Content-Length"},
		"a binary header not a number": {request{path: infer, body: []byte("{}"), header: map[string]string{"Inference-Header-Content-Length": "x"}}, 400, "Inference-Header-Content-Length"},
		"a gzip that is none":          {request{path: infer, body: []byte("{}"), header: map[string]string{"Content-Encoding": "gzip"}}, 400, "gzip|cut short"},
		"an unknown encoding":          {request{path: infer, body: []byte("{}"), header: map[string]string{"Content-Encoding": "br"}}, 415, "expected one Content-Encoding"},
		"an unknown model":             {request{path: "/v2/models/never/infer", body: []byte("{}")}, 404, "never"},
		"an unknown version":           {request{path: "/v2/models/text-orient/versions/99/infer", body: []byte("{}")}, 404, "99"},
		"a version that is none":       {request{path: "/v2/models/text-orient/versions/No.1", body: nil}, 400, "version"},
		"a path in a model's name":     {request{path: "/v2/models/..%2f..%2fetc/infer", body: []byte("{}")}, 400, "name"},
		"capitals in a model's name":   {request{path: "/v2/models/Text/infer", body: []byte("{}")}, 400, "name"},
		"an unknown function":          {request{host: p.Host("never"), path: "/", body: []byte("x")}, 404, "host"},
		"a wrong method":               {request{method: http.MethodDelete, path: infer}, 405, "."},
		"headers over the limit":       {request{path: infer, body: []byte("{}"), header: map[string]string{"X-Long": strings.Repeat("a", 40<<10)}}, 431, "."},
		"a body over the limit":        {request{path: infer, body: make([]byte, 33<<20)}, 413, "32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := p.must(t, tc.request)
			if res.status != tc.status {
				t.Fatalf("status %d, want %d: %.500s", res.status, tc.status, res.body)
			}
			isV2 := strings.HasPrefix(tc.request.path, "/v2")
			wantType := "application/problem+json"
			if isV2 {
				wantType = "application/json"
			}
			if got := res.header.Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type %q, want %q", got, wantType)
			}
			if res.code() == "" || !bytes.Contains(res.body, []byte(`"request_id":"`)) {
				t.Errorf("no code or request id: %.500s", res.body)
			}
			matches(t, tc.want, res.body)
		})
	}
}

// hugePNG is a well-formed head of a PNG that claims 1.6 billion pixels.
func hugePNG() []byte {
	out := []byte("\x89PNG\r\n\x1a\n")
	header := binary.BigEndian.AppendUint32(nil, 40000)
	header = binary.BigEndian.AppendUint32(header, 40000)
	header = append(header, 8, 2, 0, 0, 0)
	chunk := func(kind string, data []byte) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
		body := append([]byte(kind), data...)
		out = append(out, body...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
	}
	chunk("IHDR", header)
	chunk("IDAT", []byte{0x78, 0x9c, 0, 0, 0, 0xff, 0xff})
	chunk("IEND", nil)
	return out
}

// overlongWAV announces a gigabyte of samples and has a hundred bytes.
func overlongWAV() []byte {
	out := []byte("RIFF\x00\x00\x00\x40WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	out = binary.LittleEndian.AppendUint32(out, 16000)
	out = binary.LittleEndian.AppendUint32(out, 32000)
	out = append(out, 2, 0, 16, 0)
	out = append(out, "data"...)
	out = binary.LittleEndian.AppendUint32(out, 1<<30)
	return append(out, make([]byte, 100)...)
}

// slowClients speak HTTP by hand: too slowly, too little, and then go away.
func slowClients(t *testing.T, p *platform) {
	t.Run("a body shorter than announced", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		fmt.Fprintf(conn, "POST /v2/models/text-orient/infer HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Length: 100\r\n\r\n{}", p.Key)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		// Either a 400 or a closed connection is right; silence is not.
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			defer res.Body.Close()
			if res.StatusCode != http.StatusBadRequest {
				t.Errorf("status %d", res.StatusCode)
			}
		}
	})
	t.Run("a head that never ends", func(t *testing.T) {
		t.Parallel()
		conn := p.dial(t)
		fmt.Fprint(conn, "GET /v2 HTTP/1.1\r\nHost: x\r\n")
		// The server gives up by itself; the deadline is this test's own.
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("the server waits forever: %v", err)
		}
	})
	t.Run("a client that goes away", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Address+"/", bytes.NewReader(testdata(t, "functions/text-detect/testdata/page.png")))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = p.Host("text-detect")
		req.Header.Set("X-API-Key", p.Key)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		cancel()
		<-gone
		if res := p.must(t, request{path: "/v2/models/text-detect/ready"}); res.status != http.StatusOK {
			t.Errorf("afterwards: %d %s", res.status, res.body)
		}
	})
}

func (p *platform) dial(t *testing.T) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", p.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// children are the pids of the platform's child processes (Linux).
func children(t *testing.T, p *platform) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid …; comm may hold anything but is the last in brackets.
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(p.PID()) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
