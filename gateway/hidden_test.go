package gateway_test

import (
	"net/http"
	"regexp"
	"testing"

	"google.golang.org/grpc/status"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/runtime/infer/inferpb"
	"github.com/modelserveai/modelserve/runtime/model"
)

// TestWhatIsNotTheirsLooksAbsent holds that at the host of a function, or of a tag of
// one, that a key may not call everything is answered as where there is none.
func TestWhatIsNotTheirsLooksAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hidden, failed := route.Function{
		Name: "hidden", Namespace: "default", URL: "http://hidden.default.svc.cluster.local", Models: []model.Ref{{Name: "secret-model", Version: 1}},
		Tags: []string{"canary"},
	}, route.Function{
		Name: "broken", Namespace: "default", URL: "http://broken.default.svc.cluster.local", State: route.StateFailed, Reason: "model.ort: altered",
	}
	if err := w.routes.Replace([]route.Function{hidden, failed}); err != nil {
		t.Fatal(err)
	}
	nothing := w.key(auth.Infer("nothing"))
	id := regexp.MustCompile(`"request_id":"[^"]*"`)
	ask := func(host, key, method, path string) (int, string, http.Header) {
		got := w.do(request{method: method, host: host + ".default.localhost", path: path, key: key, body: "{}"})
		for _, name := range []string{"X-Request-Id", "Traceparent", "Date"} {
			got.header.Del(name)
		}
		return got.status, id.ReplaceAllString(got.body, ""), got.header
	}
	for _, at := range [][2]string{
		{"POST", "/"},
		{"GET", "/healthz"},
		{"GET", "/readyz"},
		{"GET", "/v2"},
		{"GET", "/v2/health/ready"},
		{"GET", "/v2/health/live"},
		{"GET", "/v2/models/secret-model"},
		{"GET", "/v2/models/nothing"},
		{"POST", "/v2/models/secret-model/infer"},
		{"POST", "/v2/repository/index"},
		{"GET", "/v2/models/stats"},
		{"DELETE", "/v2"},
		{"OPTIONS", "/"},
		{"GET", "/v2//x"},
		{"POST", "/a/../b"},
	} {
		status, body, header := ask("none", nothing, at[0], at[1])
		if status != http.StatusNotFound {
			t.Errorf("%v where there is no function: %d %s", at, status, body)
		}
		for _, host := range []string{"hidden", "canary-hidden", "none-hidden", "broken"} {
			s, b, h := ask(host, nothing, at[0], at[1])
			if s != status || b != body || len(h) != len(header) || h.Get("Allow") != header.Get("Allow") {
				t.Errorf("%v at %s: %d %s %v; where there is none %d %s %v", at, host, s, b, h, status, body, header)
			}
		}
	}
	for _, host := range []string{"none", "hidden", "broken"} {
		err := w.dial(host+".default.localhost").Invoke(with(t, "x-api-key", nothing), service+"ServerReady", &inferpb.ServerReadyRequest{}, &inferpb.ServerReadyResponse{})
		if got := reason(t, err); got != "not_found" || status.Convert(err).Message() != "there is no function at this host that the credential may call" {
			t.Errorf("gRPC at %s: %v", host, err)
		}
	}
	for _, key := range []string{w.key(auth.Infer("hidden")), w.key(auth.Infer("secret-model")), w.key(auth.ModelsRead), w.admin} {
		if status, body, _ := ask("hidden", key, "GET", "/v2"); status != http.StatusOK {
			t.Errorf("who may see it: %d %s", status, body)
		}
	}
}
