package serve_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve"
)

const mib = 1 << 20

// double calls the model of that name for a tenant, by REST and by gRPC, and returns
// what was wrong.
func double(t *testing.T, url string, conn *grpc.ClientConn, tenant string) {
	t.Helper()
	if got := send(t, http.MethodPost, url+"/v2/models/double/infer", []byte(inferBody), infer.TenantHeader, tenant); got.status != http.StatusOK {
		t.Errorf("%s by REST: %d %s", tenant, got.status, got.body)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), infer.TenantHeader, tenant)
	if err := conn.Invoke(ctx, service+"ModelInfer", request("double", "", 1, 2), &inferpb.ModelInferResponse{}); err != nil {
		t.Errorf("%s by gRPC: %v", tenant, err)
	}
}

// dialRaw opens a connection that reads little, and sends what is given.
func dialRaw(t *testing.T, url, request string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestAnnouncedBodiesTakeNoMemory holds that requests which announce much and send
// little cost nobody their calls, not even their own tenant.
func TestAnnouncedBodiesTakeNoMemory(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: mib, Inflight: 12 * mib, InflightWait: time.Millisecond}})
	conn := dial(t, ts.URL)
	for range 16 {
		dialRaw(t, ts.URL, fmt.Sprintf("POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n%s: a\r\nContent-Length: %d\r\n\r\n{", infer.TenantHeader, mib))
	}
	for range 10 {
		double(t, ts.URL, conn, "a")
		double(t, ts.URL, conn, "b")
	}
}

// TestBodiesThatStayLeaveAnotherTenantItsHalf holds that a tenant whose bodies are a
// byte short of whole has at most half of the memory: more of its own are refused, and
// another's are answered.
func TestBodiesThatStayLeaveAnotherTenantItsHalf(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: mib, Inflight: 12 * mib, InflightWait: time.Millisecond}})
	conn := dial(t, ts.URL)
	body := fmt.Sprintf("POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n%s: a\r\nContent-Length: %d\r\n\r\n{%s", infer.TenantHeader, mib, strings.Repeat(" ", mib-2))
	for range 16 {
		dialRaw(t, ts.URL, body)
	}
	refused := false
	for !refused && t.Context().Err() == nil { // once they have arrived
		got := send(t, http.MethodPost, ts.URL+"/v2/models/double/infer", []byte(inferBody+strings.Repeat(" ", mib-len(inferBody))), infer.TenantHeader, "a")
		refused = got.status == problem.Overloaded.Row().Status
		double(t, ts.URL, conn, "b")
	}
	for range 10 {
		double(t, ts.URL, conn, "b")
	}
}

// TestMessagesThatStayLeaveAnotherTenantItsHalf holds the same of gRPC messages of which
// the last byte does not come.
func TestMessagesThatStayLeaveAnotherTenantItsHalf(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: mib, Inflight: 12 * mib, InflightWait: time.Millisecond}})
	conn := dial(t, ts.URL)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	ended := make(chan string, 16)
	for range cap(ended) {
		body, writer := io.Pipe()
		t.Cleanup(func() { _ = writer.Close() })
		frame := io.MultiReader(bytes.NewReader([]byte{0, 0, 0x10, 0, 0}), bytes.NewReader(make([]byte, mib-1)), body)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+service+"ModelInfer", frame)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set(infer.TenantHeader, "a")
		go func() {
			resp, err := transport.RoundTrip(req)
			if err != nil {
				return // the test has ended
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			ended <- resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
			_ = resp.Body.Close() // which waits for the request's end
		}()
	}
	for range 6 { // more than a half holds: these are refused
		if got := <-ended; got != "8" {
			t.Errorf("status %s", got)
		}
		double(t, ts.URL, conn, "b")
	}
}

// TestAStreamsMessagesGiveTheirMemoryBack holds that a stream of more than its tenant may
// hold at once is answered.
func TestAStreamsMessagesGiveTheirMemoryBack(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: mib, Inflight: 12 * mib, InflightWait: time.Second}})
	stream := openStream(t, metadata.AppendToOutgoingContext(t.Context(), infer.TenantHeader, "a"), dial(t, ts.URL))
	values := make([]float32, mib/8)
	for range 30 {
		if err := stream.SendMsg(request("double", "", values...)); err != nil {
			t.Fatal(err)
		}
		var got inferpb.ModelStreamInferResponse
		if err := stream.RecvMsg(&got); err != nil || got.GetErrorMessage() != "" {
			t.Fatalf("%s, %v", got.GetErrorMessage(), err)
		}
	}
}

// TestAnswersThatAreNotReadAreCharged holds that answers nobody reads stay charged
// to their tenant, whose further ones are refused, and that another's go on.
func TestAnswersThatAreNotReadAreCharged(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: mib, Inflight: 5 * wideBytes, InflightWait: time.Millisecond}})
	conn := dial(t, ts.URL)
	head := fmt.Sprintf("POST /v2/models/wide/infer HTTP/1.1\r\nHost: x\r\n%s: a\r\nContent-Length: ", infer.TenantHeader)
	body := strings.Replace(inferBody, `"inputs"`, `"parameters":{"binary_data_output":true},"inputs"`, 1)
	held := make([]net.Conn, 2)
	for i := range held {
		held[i] = dialRaw(t, ts.URL, fmt.Sprintf("%s%d\r\n\r\n%s", head, len(body), body))
		if _, err := io.ReadFull(held[i], make([]byte, 100)); err != nil { // its answer has begun
			t.Fatal(err)
		}
	}
	for range 3 {
		got := send(t, http.MethodPost, ts.URL+"/v2/models/wide/infer", []byte(body), infer.TenantHeader, "a")
		got.failed(t, problem.Overloaded)
		double(t, ts.URL, conn, "a")
		double(t, ts.URL, conn, "b")
	}
	for _, c := range held { // what was not read comes back
		_ = c.Close()
	}
	for {
		if got := send(t, http.MethodPost, ts.URL+"/v2/models/wide/infer", []byte(body), infer.TenantHeader, "a"); got.status == http.StatusOK {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the memory never came back")
		}
	}
}

// TestSmallMessagesThatDecodeIntoMuch holds that messages which are small on the wire
// and large decoded are refused before they are decoded, compressed or not.
func TestSmallMessagesThatDecodeIntoMuch(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Limits: serve.Limits{MaxBody: 4 * mib, Inflight: 48 * mib, InflightWait: time.Millisecond}})
	conn := dial(t, ts.URL)
	for name, tc := range map[string]struct {
		unit string
		code string
	}{
		"inputs":             {"\x2a\x00", "3"},
		"outputs":            {"\x32\x00", "3"},
		"raw_input_contents": {"\x3a\x00", "8"},
		"parameters":         {"\x22\x00", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			message := []byte("\x0a\x06double" + strings.Repeat(tc.unit, 2*mib-8))
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			_, _ = z.Write(message)
			_ = z.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for flag, data := range map[byte][]byte{0: message, 1: zipped.Bytes()} {
				if got := rawGRPC(t, ts.URL, flag, data); got != tc.code {
					t.Errorf("status %s, want %s", got, tc.code)
				}
			}
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 100*mib {
				t.Errorf("two messages of 4 MiB took %d MiB", took/mib)
			}
			double(t, ts.URL, conn, "b")
		})
	}
}

// rawGRPC sends one frame for the tenant a and returns the status.
func rawGRPC(t *testing.T, url string, flag byte, message []byte) string {
	t.Helper()
	frame := []byte{flag, byte(len(message) >> 24), byte(len(message) >> 16), byte(len(message) >> 8), byte(len(message))}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+service+"ModelInfer", io.MultiReader(bytes.NewReader(frame), bytes.NewReader(message)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Grpc-Encoding", "gzip")
	req.Header.Set(infer.TenantHeader, "a")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if status := resp.Header.Get("Grpc-Status"); status != "" { // without a message
		return status
	}
	return resp.Trailer.Get("Grpc-Status")
}

// TestEventsThatTakeMuch holds that an event of many or long attributes is refused
// before they are kept.
func TestEventsThatTakeMuch(t *testing.T) { //nolint:paralleltest // it measures what the process allocates
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f, Codec: echo{}, Function: "double"})
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"a%07d":1,`, i)
		}
		return b.String()
	}
	for name, tc := range map[string]struct{ members, detail string }{
		"many attributes":             {many(100_000), "at most 1024 members"},
		"some more than may be":       {many(300), "at most 256 members"},
		"an attribute of many":        {`"other":{` + strings.TrimSuffix(many(100_000), ",") + `},`, "at most 1024 members"},
		"a long attribute":            {`"subject":"` + strings.Repeat("x", mib) + `",`, "at most 65536 bytes beside its data"},
		"long attributes":             {`"subject":"` + strings.Repeat("x", 40_000) + `","other":"` + strings.Repeat("x", 40_000) + `",`, "at most 65536 bytes beside its data"},
		"data of many":                {`"data":{` + strings.TrimSuffix(many(100_000), ",") + `},`, "at most 1024 members"},
		"an attribute of a long name": {`"` + strings.Repeat("x", mib) + `":1,`, "at most 1024 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(`{"specversion":"1.0",` + tc.members + `"id":"1","source":"x","type":"x"}`)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := send(t, http.MethodPost, ts.URL+"/", body, "Content-Type", "application/cloudevents+json")
			runtime.ReadMemStats(&after)
			if e := got.failed(t, problem.InvalidArgument); !strings.Contains(e.Detail, tc.detail) {
				t.Errorf("%s, want %q", e.Detail, tc.detail)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(8*len(body)+mib) {
				t.Errorf("%d bytes took %d", len(body), took)
			}
		})
	}
}
