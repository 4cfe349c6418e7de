package callers_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// TestAFrozenDatabaseIsOneThatIsAway holds that callers are known for as long as the
// gateway's file says while PostgreSQL takes connections and answers nothing, are then
// refused as such that cannot be checked, and are known again without a start.
func TestAFrozenDatabaseIsOneThatIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	store, err := postgres.Open(t.Context(), server.URL(server.Database(t, "")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, path, fileOf(5))
	r := start(t, store, map[string]string{"MODELSERVE_GATEWAY_FILE": path})
	gateway := r.behind(t)
	key, err := r.Create(t.Context(), admin())
	if err != nil {
		t.Fatal(err)
	}
	asked := func(want int) func() bool {
		return func() bool {
			status, _ := call(gateway, "GET", "/v1/access?action=infer&resource=x", key, "")
			ready, _ := call(gateway, "GET", "/readyz", "", "")
			return status == want && ready == want
		}
	}
	eventually(t, "it is ready", asked(200))
	server.Freeze(t)
	if !asked(200)() {
		t.Error("who is known is refused at once")
	}
	if status, body := call(gateway, "DELETE", "/v1/keys/"+strings.Split(key, "_")[1], key, ""); status != 503 { // the request's own time would be minutes, and 504
		t.Errorf("a revocation is answered %d %v", status, body)
	}
	eventually(t, "what is known is too old", asked(503))
	server.Thaw(t)
	eventually(t, "it is known again", asked(200))
}
