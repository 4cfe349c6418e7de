package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"connectrpc.com/connect"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/problem/problemgrpc"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// inference is one inference as a client sends it, that faults spoil.
type inference struct {
	host, key      string
	header         http.Header
	method         string
	leaf           string // of the model's URL; of gRPC the procedure
	model, version string
	announced      int64 // length of the body; 0 for its own
	garbled        bool
}

// fault is something wrong with an inference, and the code that it is refused by.
type fault struct {
	name  string
	on    string // two on one thing cannot be wrong at once
	code  problem.Code
	spoil func(*inference)
}

// The faults, in the order in which they win over each other: what the caller may
// not know of comes after the credential, and what exists after what they may do.
func faultsOf(protocol string) []fault {
	headers := fault{"headers too large", "headers", problem.HeadersTooLarge, func(c *inference) { c.header.Set("X-Much", strings.Repeat("x", 33<<10)) }}
	announced := fault{"announced too large", "body", problem.PayloadTooLarge, func(c *inference) { c.announced = 33 << 20 }}
	credential := fault{"no credential", "key", problem.Unauthenticated, func(c *inference) { c.key = "" }}
	host := fault{"no function at the host", "host", problem.NotFound, func(c *inference) { c.host = "none.default.localhost" }}
	name := fault{"not a model's name", "model", problem.InvalidArgument, func(c *inference) { c.model = "IRIS" }}
	versions := fault{"two versions", "version", problem.InvalidArgument, func(c *inference) { c.version, c.header[infer.VersionHeader] = "1", []string{"2"} }}
	permission := fault{"no permission", "model", problem.PermissionDenied, func(c *inference) { c.model = "secret-model" }}
	published := fault{"not published", "version", problem.ModelNotFound, func(c *inference) { c.version = "9" }}
	garbled := fault{"garbled", "body", problem.MalformedBody, func(c *inference) { c.garbled = true }}
	switch protocol {
	case "REST":
		return []fault{
			headers, announced, credential, host, name,
			{"no such URL", "leaf", problem.NotFound, func(c *inference) { c.leaf = "/none" }},
			{"not by this method", "method", problem.MethodNotAllowed, func(c *inference) { c.method = http.MethodPut }},
			versions, permission, published,
		}
	case "gRPC":
		return []fault{
			headers, announced, credential, host,
			{"no such procedure", "leaf", problem.Unimplemented, func(c *inference) { c.leaf = "None" }},
			garbled, versions, name, permission, published,
		}
	default: // a message of a stream
		return []fault{headers, credential, host, garbled, versions, name, permission, published}
	}
}

// TestWhichFaultWins holds what an inference is refused by that has two faults, for
// each two: the same by every way in.
func TestWhichFaultWins(t *testing.T) {
	t.Parallel()
	for protocol, send := range map[string]func(*world, *inference) problem.Code{
		"REST": (*world).inferREST, "gRPC": (*world).inferGRPC, "stream": (*world).inferStream,
	} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.echo("pool")
			key := w.key(auth.Infer("iris"))
			faults := faultsOf(protocol)
			for i, first := range faults {
				for _, second := range faults[i:] {
					if first.on == second.on && first.name != second.name {
						continue
					}
					c := &inference{key: key, header: http.Header{}, method: http.MethodPost, leaf: "/infer", model: "iris"}
					if protocol != "REST" {
						c.leaf = map[string]string{"gRPC": "ModelInfer", "stream": "ModelStreamInfer"}[protocol]
					}
					second.spoil(c)
					first.spoil(c)
					if got := send(w, c); got != first.code {
						t.Errorf("%s and %s: %q, want %q", first.name, second.name, got, first.code)
					}
				}
			}
		})
	}
}

func (w *world) inferREST(c *inference) problem.Code {
	path := "/v2/models/" + c.model
	if c.version != "" {
		path += "/versions/" + c.version
	}
	res := w.send(c, path+c.leaf, []byte("{}"))
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return problem.Code(answer{body: string(body)}.code())
}

func (w *world) inferGRPC(c *inference) problem.Code {
	code, _ := w.frame(c)
	return code
}

// inferStream is the fault of the stream, or of the message in it.
func (w *world) inferStream(c *inference) problem.Code {
	code, message := w.frame(c)
	if code != "" || len(message) == 0 {
		return code
	}
	var out inferpb.ModelStreamInferResponse
	if err := proto.Unmarshal(message, &out); err != nil {
		w.t.Fatal(err)
	}
	for part, code := range map[string]problem.Code{
		"not protobuf": problem.MalformedBody, "may not infer": problem.PermissionDenied, "has no version": problem.ModelNotFound,
		"model_name": problem.InvalidArgument, infer.VersionHeader: problem.InvalidArgument,
	} {
		if strings.Contains(out.GetErrorMessage(), part) {
			return code
		}
	}
	return problem.Code(out.GetErrorMessage())
}

// frame sends a message by gRPC, and returns the status's code and the message
// that came.
func (w *world) frame(c *inference) (problem.Code, []byte) {
	message, err := proto.Marshal(&inferpb.ModelInferRequest{ModelName: c.model, ModelVersion: c.version})
	if err != nil {
		w.t.Fatal(err)
	}
	if c.garbled {
		message = append(message, 0xff)
	}
	c.header.Set("Content-Type", "application/grpc")
	c.header.Set("Te", "trailers")
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	res := w.send(c, service+c.leaf, body)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(answer) > 5 {
		answer = answer[5:]
	}
	trailer := res.Trailer
	if res.Header.Get("Grpc-Status") != "" {
		trailer = res.Header
	}
	if trailer.Get("Grpc-Status") == "0" {
		return "", answer
	}
	details, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(trailer.Get("Grpc-Status-Details-Bin"), "="))
	if err != nil {
		w.t.Fatal(err)
	}
	var status spb.Status
	if err := proto.Unmarshal(details, &status); err != nil {
		w.t.Fatal(err)
	}
	e := connect.NewWireError(connect.Code(status.GetCode()), fmt.Errorf("%s", status.GetMessage()))
	for _, any := range status.GetDetails() {
		if detail, err := connect.NewErrorDetail(any); err == nil {
			e.AddDetail(detail)
		}
	}
	return problemgrpc.Code(e), answer
}

func (w *world) send(c *inference, path string, body []byte) *http.Response {
	req, err := http.NewRequestWithContext(w.t.Context(), c.method, w.server.URL, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.URL = &url.URL{Scheme: "http", Host: w.server.Listener.Addr().String(), Path: path}
	req.Host, req.Header = c.host, c.header
	if c.key != "" {
		req.Header.Set("X-Api-Key", c.key)
	}
	if c.announced > 0 {
		req.ContentLength, req.Body = c.announced, io.NopCloser(io.MultiReader(bytes.NewReader(body), bytes.NewReader(make([]byte, c.announced-int64(len(body))))))
	}
	res, err := w.h2c().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}
