package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
)

// events is a stream of server-sent events, as a function answers one.
const events = "data: 1\n\ndata: 2\n\n"

// reply is what a caller sees of an answer; of a refusal all of it but its request id.
type reply struct{ status, code, detail string }

// entrance sends one call with headers (gRPC: metadata), by one way into the gateway.
type entrance func(ctx context.Context, header http.Header) (reply, error)

// besieged is a gateway that takes the tokens of an issuer, and every way into it.
type besieged struct {
	*world
	issuer    *jwttest.Issuer
	client    *http.Client
	conn      *grpc.ClientConn
	attempts  atomic.Uint32
	entrances map[string]entrance
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{issuer: jwttest.New("https://id.test")}
	b.world = newWorld(t, func(c *gateway.Config, d *gateway.Deps) {
		v, err := jwt.New([]jwt.Issuer{b.issuer.Config()}, jwt.Options{Transport: b.issuer, Logger: d.Telemetry.Logger, Registerer: d.Telemetry.Registry})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		d.Authenticators = append(d.Authenticators, v)
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	b.grpcFunction("pool")
	b.serve("text-detect", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			_, _ = io.WriteString(rw, "{}")
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		for event := range strings.SplitAfterSeq(events, "\n\n") {
			_, _ = io.WriteString(rw, event)
			_ = http.NewResponseController(rw).Flush()
		}
	})
	transport := &http.Transport{MaxIdleConnsPerHost: underWay}
	t.Cleanup(transport.CloseIdleConnections)
	b.client, b.conn = &http.Client{Transport: transport}, b.dial("")

	const host = "text-detect.default.localhost"
	b.entrances = map[string]entrance{
		"REST, V2":                b.http("POST", "", "/v2/models/text-detect/versions/1/infer", "{}", "application/json", nil),
		"REST, V2, at a function": b.http("POST", host, "/v2/models/text-detect/infer", "{}", "application/json", nil),
		"REST, native":            b.http("POST", host, "/", "x", "image/png", nil),
		"control API":             b.http("GET", "", "/v1/access?action=infer&resource=iris", "", "", nil),
		"server-sent events":      b.http("POST", host, "/", "{}", "application/json", http.Header{"Accept": {"text/event-stream"}}),
		"CloudEvents, structured": b.http("POST", host, "/", `{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{}}`, "application/cloudevents+json", nil),
		"CloudEvents, binary": b.http("POST", host, "/", "{}", "application/json",
			http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/a"}, "Ce-Type": {"t"}}),
		"gRPC": b.grpc(func(ctx context.Context) error {
			return b.conn.Invoke(ctx, service+"ModelInfer", &inferpb.ModelInferRequest{ModelName: "iris"}, &inferpb.ModelInferResponse{})
		}),
		"gRPC, a stream": b.grpc(func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := b.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, service+"ModelStreamInfer")
			if err != nil {
				return err
			}
			if err := stream.SendMsg(&inferpb.ModelInferRequest{ModelName: "iris"}); err != nil && !errors.Is(err, io.EOF) { // whose cause comes with the answer
				return err
			}
			return stream.RecvMsg(&inferpb.ModelStreamInferResponse{})
		}),
	}
	return b
}

func (b *besieged) http(method, host, path, body, media string, extra http.Header) entrance {
	return func(ctx context.Context, header http.Header) (reply, error) {
		req, err := http.NewRequestWithContext(ctx, method, b.server.URL+path, strings.NewReader(body))
		if err != nil {
			return reply{}, err
		}
		req.Host, req.Header = host, header.Clone()
		for name, values := range extra {
			req.Header[name] = values
		}
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		res, err := b.client.Do(req)
		if err != nil {
			return reply{}, err
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err != nil {
			return reply{}, err
		}
		if res.StatusCode == http.StatusOK {
			if extra.Get("Accept") != "" && string(data) != events {
				return reply{}, fmt.Errorf("got %q, want the events", data)
			}
			return reply{status: "good"}, nil
		}
		var refused struct {
			Type, Title, Code, Error, Detail string
			RequestID                        string `json:"request_id"`
			Status                           int
		}
		strict := json.NewDecoder(bytes.NewReader(data))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&refused); err != nil {
			return reply{}, fmt.Errorf("%s: %w", data, err)
		}
		return reply{strconv.Itoa(res.StatusCode), refused.Code, withoutSize(refused.Error + refused.Detail)}, nil
	}
}

func (b *besieged) grpc(call func(context.Context) error) entrance {
	return func(ctx context.Context, header http.Header) (reply, error) {
		md := metadata.MD{}
		for name, values := range header {
			md.Append(name, values...)
		}
		err := call(metadata.NewOutgoingContext(ctx, md))
		if err == nil {
			return reply{status: "good"}, nil
		}
		return reply{status.Code(err).String(), reason(b.t, err), withoutSize(status.Convert(err).Message())}, nil
	}
}

// withoutSize leaves out how long a request's headers were, which is each entrance's own.
func withoutSize(detail string) string {
	return regexp.MustCompile(`take \d+ bytes`).ReplaceAllString(detail, "take N bytes")
}

// underWay is how many attempts are made at once.
const underWay = 32

// attempt is credentials, and what they are answered with by HTTP and by gRPC.
type attempt struct {
	name       string
	header     http.Header
	http, grpc reply
}

// unauthenticated is an attempt that is refused with a sentence and nothing else.
func unauthenticated(name string, header http.Header, detail string) attempt {
	return attempt{name, header, reply{"401", "unauthenticated", detail}, reply{"Unauthenticated", "unauthenticated", detail}}
}

// run makes each attempt by each way in, from an address of its own, so that none is
// slowed for another.
func (b *besieged) run(t *testing.T, attempts []attempt) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(underWay)
	for name, enter := range b.entrances {
		for _, a := range attempts {
			header := a.header.Clone()
			n := b.attempts.Add(1)
			header.Set("X-Forwarded-For", netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String())
			want := a.http
			if strings.HasPrefix(name, "gRPC") {
				want = a.grpc
			}
			group.Go(func() error {
				got, err := enter(t.Context(), header)
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(reply{})); err != nil || diff != "" {
					t.Errorf("%s, %s: %v, -want +got:\n%s", name, a.name, err, diff)
				}
				return nil
			})
		}
	}
	_ = group.Wait()
}

// bearer and apiKey are the two headers for a credential.
func bearer(credentials ...string) http.Header {
	h := http.Header{}
	for _, c := range credentials {
		h.Add("Authorization", "Bearer "+c)
	}
	return h
}

func apiKey(credentials ...string) http.Header { return http.Header{"X-Api-Key": credentials} }

// answered has good credentials answered by every way in: without it a refusal would
// prove nothing.
func (b *besieged) answered(t *testing.T) {
	t.Helper()
	token, good := b.issuer.Token(nil), reply{status: "good"}
	both := bearer(token)
	both.Set("X-Api-Key", token)
	b.run(t, []attempt{
		{"a good token", bearer(token), good, good},
		{"a good token in X-API-Key", apiKey(token), good, good},
		{"the same in both", both, good, good},
		{"a key", bearer(b.admin), good, good},
	})
}

// sentence is what the caller learns of an attack.
func sentence(name string) string {
	switch name {
	case "times: expired", "times: expired long ago", "times: exp zero":
		return "the token is expired"
	case "times: not yet", "times: issued later":
		return "the token is not valid yet"
	case "percent-encoded": // it has no dots then
		return "the credential is of no known kind; expected a key ms_<id>_<secret> or a token of an issuer that the gateway knows"
	case "over 16 KiB":
		return "the credential is longer than 16384 bytes"
	default:
		return "the token is not valid"
	}
}

// TestAttacksAreRefusedAtEveryEntrance holds that each of RFC 8725's attacks is refused
// in the same words by every way in, that no function learns of it, and that good
// tokens are answered there before and after.
func TestAttacksAreRefusedAtEveryEntrance(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	b.answered(t)
	reached := b.net.calls()
	var attempts []attempt
	for _, a := range b.issuer.Attacks() {
		if !a.InHeader() {
			continue
		}
		attempts = append(attempts,
			unauthenticated(a.Name, bearer(a.Token), sentence(a.Name)),
			unauthenticated(a.Name+", in X-API-Key", apiKey(a.Token), sentence(a.Name)))
	}
	if len(attempts) < 400 {
		t.Fatalf("only %d attempts", len(attempts))
	}
	b.run(t, attempts)
	if now := b.net.calls(); now != reached {
		t.Errorf("%d calls reached a function", now-reached)
	}
	b.answered(t)
}

// TestTwoCredentialsAndLongOnesAreRefusedAtEveryEntrance holds that of two credentials
// none counts, however good, and that a long one is refused by its length alone.
func TestTwoCredentialsAndLongOnesAreRefusedAtEveryEntrance(t *testing.T) {
	t.Parallel()
	b := besiege(t)
	b.answered(t)
	reached := b.net.calls()
	token, other := b.issuer.Token(nil), b.issuer.Token(map[string]any{"sub": "joe"})
	mixed := func(authorization, key string) http.Header {
		h := bearer(authorization)
		h.Set("X-Api-Key", key)
		return h
	}
	const two, long = "the request has two credentials that differ; expected one", "the credential is longer than 16384 bytes"
	const none = "no credential; expected Authorization: Bearer or X-API-Key"
	const scheme = "the Authorization header's scheme is not known; expected Bearer"
	const headers = "the request line and headers take N bytes; expected at most 32KiB" // whosever they are
	tooLarge := func(name string, header http.Header) attempt {
		return attempt{name, header, reply{"431", "headers_too_large", headers}, reply{"ResourceExhausted", "headers_too_large", headers}}
	}
	b.run(t, []attempt{
		unauthenticated("none", http.Header{}, none),
		unauthenticated("a good token and a good key", mixed(token, b.admin), two),
		unauthenticated("a good key and a good token", mixed(b.admin, token), two),
		unauthenticated("a good token and another", mixed(token, other), two),
		unauthenticated("a good token and nonsense", mixed(token, "x"), two),
		unauthenticated("nonsense and a good token", mixed("x", token), two),
		unauthenticated("two tokens in Authorization", bearer(token, other), two),
		unauthenticated("two tokens in X-API-Key", apiKey(token, other), two),
		unauthenticated("a good token and another in one", apiKey(token+", "+other), "the token is not valid"),
		unauthenticated("a good token and one of another scheme", http.Header{"Authorization": {"Bearer " + token, "Basic eDp5"}}, scheme),
		unauthenticated("another scheme and a good key", http.Header{"Authorization": {"Basic eDp5"}, "X-Api-Key": {b.admin}}, scheme),
		unauthenticated("a byte too long", bearer(strings.Repeat("x", 16<<10+1)), long),
		unauthenticated("a long one beside a good one", mixed(token, strings.Repeat("x", 16<<10+1)), long),
		unauthenticated("as long as may be", bearer(strings.Repeat(".", 16<<10)), "the token is not valid"),
		tooLarge("longer than all headers may be", bearer(strings.Repeat("x", 33<<10))),
		tooLarge("as long, beside a good one", mixed(token, strings.Repeat("x", 33<<10))),
	})
	if now := b.net.calls(); now != reached {
		t.Errorf("%d calls reached a function", now-reached)
	}
	b.answered(t)
}
