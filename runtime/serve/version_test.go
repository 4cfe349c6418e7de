package serve_test

import (
	"context"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// aliases is fake with the alias stable, which answers calls without a version.
type aliases struct{ *fake }

type aliasedLease struct {
	serve.Lease

	alias string
}

func (l aliasedLease) Alias() string { return l.alias }

func (a aliases) Acquire(ctx context.Context, name, version string) (serve.Lease, error) {
	alias := ""
	if version == "" || version == "stable" {
		alias, version = "stable", "3"
	}
	l, err := a.fake.Acquire(ctx, name, version)
	return aliasedLease{l, alias}, err
}

// versions are the ways to set which version a call is for, and what comes of
// each.
func versions() map[string]struct {
	named, header string
	alias         string
	code          problem.Code
	field         string
} {
	type row = struct {
		named, header string
		alias         string
		code          problem.Code
		field         string
	}
	return map[string]row{
		"none":                      {alias: "stable"},
		"a number":                  {named: "3"},
		"an alias":                  {named: "stable", alias: "stable"},
		"a number, by header":       {header: "3"},
		"an alias, by header":       {header: "stable", alias: "stable"},
		"both, the same":            {named: "stable", header: "stable", alias: "stable"},
		"both, not the same":        {named: "3", header: "stable", code: problem.InvalidArgument, field: "X-Model-Version"},
		"no such alias":             {named: "beta", code: problem.ModelNotFound},
		"no such alias, by header":  {header: "beta", code: problem.ModelNotFound},
		"no such number, by header": {header: "9", code: problem.ModelNotFound},
		"no form":                   {named: "Stable", code: problem.InvalidArgument, field: "model_version"},
		"no form, by header":        {header: "03", code: problem.InvalidArgument, field: "X-Model-Version"},
	}
}

func TestVersionOfREST(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: aliases{f}, Repository: f, Function: "double", Codec: echo{}})
	for name, tc := range versions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := ts.URL + "/v2/models/double"
			if tc.named != "" {
				url += "/versions/" + tc.named
			}
			var headers []string
			if tc.header != "" {
				headers = []string{infer.VersionHeader, tc.header}
			}
			got := send(t, http.MethodPost, url+"/infer", []byte(inferBody), headers...)
			natively := got
			if tc.named == "" {
				natively = send(t, http.MethodPost, ts.URL+"/", []byte("abc"), headers...)
			}
			if tc.code != "" {
				e := got.failed(t, tc.code)
				if tc.field != "" && (len(e.Errors) != 1 || e.Errors[0].Field != tc.field) {
					t.Errorf("errors %+v, want %s", e.Errors, tc.field)
				}
				natively.failed(t, tc.code)
				return
			}
			for _, r := range []reply{got, natively} {
				if r.status != http.StatusOK || r.header.Get("Modelserve-Alias") != tc.alias || r.header.Get("Modelserve-Model") != "double@3;digest=sha256:abc" {
					t.Errorf("%d %v %s, want alias %q", r.status, r.header, r.body, tc.alias)
				}
			}
			if _, ok := got.header["Modelserve-Alias"]; ok != (tc.alias != "") {
				t.Errorf("headers %v", got.header)
			}
		})
	}
}

func TestVersionHeaderTwice(t *testing.T) {
	t.Parallel()
	f := newFake()
	ts := start(t, serve.Config{Backend: f, Repository: f})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/v2/models/double/infer", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header[infer.VersionHeader] = []string{"3", "3"}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestVersionOfGRPC(t *testing.T) {
	t.Parallel()
	f := newFake()
	conn := dial(t, start(t, serve.Config{Backend: aliases{f}, Repository: f}).URL)
	for name, tc := range versions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if tc.header != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "x-model-version", tc.header)
			}
			in := request("double", "1", 1, 2)
			in.ModelVersion = tc.named
			var out inferpb.ModelInferResponse
			var header metadata.MD
			err := conn.Invoke(ctx, service+"ModelInfer", in, &out, grpc.Header(&header))
			streamed := stream(ctx, t, conn, in)
			if tc.code != "" {
				if status.Code(err) != codes.Code(tc.code.Row().GRPC) || streamed.GetErrorMessage() == "" {
					t.Errorf("error %v, in a stream %v; want %s", err, streamed, tc.code)
				}
				return
			}
			if err != nil || out.GetModelVersion() != "3" || streamed.GetInferResponse().GetModelVersion() != "3" {
				t.Errorf("%v, %v, in a stream %v", err, &out, streamed)
			}
			if got := header.Get("modelserve-alias"); len(got) > 1 || len(got) == 1 && got[0] != tc.alias || (len(got) == 0) != (tc.alias == "") {
				t.Errorf("alias %q, want %q", got, tc.alias)
			}
		})
	}
}

// stream sends one request in a stream and reads its answer.
func stream(ctx context.Context, t *testing.T, conn *grpc.ClientConn, in *inferpb.ModelInferRequest) *inferpb.ModelStreamInferResponse {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, service+"ModelStreamInfer")
	if err != nil {
		t.Fatal(err)
	}
	var out inferpb.ModelStreamInferResponse
	if err := s.SendMsg(in); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&out); err != nil {
		t.Fatal(err)
	}
	return &out
}
