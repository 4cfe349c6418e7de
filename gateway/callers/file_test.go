package callers_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/test/postgrestest"
)

// files are the resources of the files that were recorded, the first one first.
func (d *database) files(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, e := range d.recorded(t, audit.Platform, "gateway.file") {
		if e.Actor != "gateway" || e.Outcome != audit.Done {
			t.Errorf("entry %+v", e)
		}
		files = append([]string{e.Resource}, files...)
	}
	return files
}

func resource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "file:sha256:" + hex.EncodeToString(sum[:])
}

// TestAFileIsRecordedOnce holds that the audit log has each file that comes in force,
// by its digest, once: however many replicas load it at the same time, and however
// often they start with it.
func TestAFileIsRecordedOnce(t *testing.T) {
	t.Parallel()
	const replicas = 8
	for name, stores := range map[string]func(t *testing.T) []*database{
		"SQLite": func(t *testing.T) []*database {
			t.Helper()
			return slices.Repeat([]*database{openDatabase(t)}, replicas)
		},
		"PostgreSQL": func(t *testing.T) []*database {
			t.Helper()
			server := postgrestest.Start(t)
			url := server.URL(server.Database(t, ""))
			var stores []*database
			for range replicas {
				store, err := postgres.Open(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = store.Close() })
				stores = append(stores, &database{Store: store, usageStore: store})
			}
			return stores
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recordedOnce(t, stores(t))
		})
	}
}

// recordedOnce starts a replica on each store, over one file after another.
func recordedOnce(t *testing.T, stores []*database) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	where := map[string]string{"MODELSERVE_GATEWAY_FILE": path}
	startAll := func() {
		var starting sync.WaitGroup
		for _, store := range stores {
			starting.Go(func() {
				_, err := open(t, store, where)
				for errors.Is(err, rights.ErrAway) { // started again, as what runs replicas does
					_, err = open(t, store, where)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
	}
	startAll()
	if got := stores[0].files(t); len(got) != 0 { // the defaults are not news
		t.Errorf("without a file: %v", got)
	}
	want := []string{}
	for n := 1; n <= 20; n++ {
		write(t, path, fileOf(n))
		startAll()
		want = append(want, resource(fileOf(n)))
	}
	startAll()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	startAll()
	if diff := cmp.Diff(append(want, "file:none"), stores[0].files(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestAFileThatChangesIsRecorded holds that a file is put in force and recorded while
// replicas run, and that a bad one is neither.
func TestAFileThatChangesIsRecorded(t *testing.T) {
	t.Parallel()
	store, path := openDatabase(t), filepath.Join(t.TempDir(), "gateway.yaml")
	issuer := jwttest.Start(t)
	with := fileOf(30) + fmt.Sprintf("issuers:\n- {issuer: %q, audiences: [%s], tenant: claims.org, roles: claims.groups}\n", issuer.URL, jwttest.Audience)
	write(t, path, fileOf(30))
	where := map[string]string{"MODELSERVE_GATEWAY_FILE": path}
	one, two := start(t, store, where), start(t, store, where)
	handlers := []handler{one.behind(t), two.behind(t)}
	key, err := one.Create(t.Context(), auth.KeySpec{Name: "n", Tenant: "acme", Scopes: []auth.Permission{auth.Admin}})
	if err != nil {
		t.Fatal(err)
	}
	everywhere := func(what, path, credential string, want int) {
		t.Helper()
		for _, h := range handlers {
			eventually(t, what, func() bool { status, _ := call(h, "GET", path, credential, ""); return status == want })
		}
	}
	bad := func(want bool) {
		t.Helper()
		for _, h := range handlers {
			eventually(t, "bad is shown", func() bool {
				status, body := call(h, "GET", "/v1/gateway", key, "")
				text, _ := body["bad"].(string)
				ready, shown := call(h, "GET", "/readyz", "", "")
				detail, _ := shown["detail"].(string) // to anybody: not what is wrong
				return status == 200 && (text != "") == want && ready == 200 && strings.Contains(detail, "file is a bad one") == want && !strings.Contains(detail, "stale")
			})
		}
	}
	token := issuer.Token(nil)
	everywhere("the token is refused", "/v1/access?action=infer&resource=x", token, 401)
	write(t, path, with)
	everywhere("the token is taken", "/v1/access?action=infer&resource=x", token, 200)
	want := []string{resource(fileOf(30)), resource(with)}
	eventually(t, "the second file is recorded", func() bool { return len(store.files(t)) >= len(want) })

	write(t, path, "apiVersion: modelserve.dev/v1\nkind: Gateway\nstale: soon\n")
	bad(true)
	everywhere("the token is taken still", "/v1/access?action=infer&resource=x", issuer.Token(nil), 200)
	if _, err := open(t, store, where); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("a replica starts with a bad file: %v", err)
	}
	write(t, path, with)
	bad(false)
	if diff := cmp.Diff(want, store.files(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := strings.Count(one.log.String(), "is a bad one"); n != 1 {
		t.Errorf("the bad file is logged %d times", n)
	}
}

// TestAFileIsRecordedWhenTheDatabaseIsBack holds that one that came in force meanwhile
// is not lost.
func TestAFileIsRecordedWhenTheDatabaseIsBack(t *testing.T) {
	t.Parallel()
	store, path := openDatabase(t), filepath.Join(t.TempDir(), "gateway.yaml")
	r := start(t, store, map[string]string{"MODELSERVE_GATEWAY_FILE": path})
	store.away.Store(true)
	write(t, path, fileOf(10))
	eventually(t, "the file is in force", func() bool { return strings.Count(r.log.String(), "the gateway's file is in force") == 2 })
	if got := store.files(t); len(got) != 0 {
		t.Errorf("recorded %v by a database that is away", got)
	}
	store.away.Store(false)
	eventually(t, "the file is recorded", func() bool { return len(store.files(t)) > 0 })
	if diff := cmp.Diff([]string{resource(fileOf(10))}, store.files(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
