package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt/jwttest"
	"github.com/modelserveai/modelserve/gateway/postgres"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/internal/freeport"
	"github.com/modelserveai/modelserve/test/postgrestest"
	"github.com/modelserveai/modelserve/test/redistest"
)

// What the full database has: so many keys, of so many tenants, each of which has as
// many roles and grants.
const (
	manyKeys    = 10_000
	manyTenants = 10
	manyRoles   = 20
	manyGrants  = 200
)

// callerRole is the role by which keys and tokens may call, of each tenant.
const callerRole = "caller"

// largeBurst is that of the limits of callers, and their rate a second: none of them
// refuses a call.
const largeBurst = 100_000

// world is what gateways work with: a database, a Redis, callers, and a function.
type world struct {
	server      *postgrestest.Server
	empty, full string // databases
	redis       *redistest.Server
	hashKey     auth.HashKey
	hasher      *auth.Hasher
	admin       string   // the operator's key
	keys        []string // those of the full database
	token       string   // of its first tenant
	file        string   // the gateway's, with the token's issuer and the large limits
	routes      string
	function    string // its address
	decoder     *process
}

func startWorld(ctx context.Context, dir string) (w *world, err error) {
	w = &world{hashKey: auth.NewHashKey()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	if w.hasher, err = auth.NewHasher(w.hashKey); err != nil {
		return w, err
	}
	if w.admin, _, err = w.hasher.NewKey(auth.KeySpec{Name: "operator", Tenant: "default", Scopes: []auth.Permission{auth.Admin}}, time.Now()); err != nil {
		return w, err
	}
	if err := w.startFunction(ctx); err != nil {
		return w, err
	}
	if err := errors.Join(w.writeRoutes(dir), w.writeFile(dir)); err != nil {
		return w, err
	}
	progress("start Redis, and PostgreSQL with %d keys", manyKeys)
	if w.redis, err = redistest.Run(ctx); err != nil {
		return w, err
	}
	if w.server, err = postgrestest.Run(ctx); err != nil {
		return w, err
	}
	if w.empty, err = w.server.NewDatabase(ctx, ""); err != nil {
		return w, err
	}
	if w.full, err = w.server.NewDatabase(ctx, ""); err != nil {
		return w, err
	}
	return w, w.fill(ctx)
}

func (w *world) stop() error {
	var faults []error
	if w.decoder != nil {
		faults = append(faults, w.decoder.stop())
	}
	if w.redis != nil {
		faults = append(faults, w.redis.Close())
	}
	if w.server != nil {
		faults = append(faults, w.server.Close())
	}
	return errors.Join(faults...)
}

// startFunction runs what stands in for a function, and waits until it answers.
func (w *world) startFunction(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if w.function, err = freeport.Address(ctx); err != nil {
		return err
	}
	if w.decoder, err = startProcess(self, nil, "-decoder", w.function); err != nil {
		return err
	}
	t, err := v2(w.function, tinyModel, false, tinyInput())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = t.once(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the function does not answer: %w", err)
		}
	}
}

// writeFile makes an issuer, a token of it that lasts for longer than the benchmark,
// and the gateway's file that takes it, with limits.
func (w *world) writeFile(dir string) error {
	issuer := jwttest.New("https://issuer.test")
	keys := filepath.Join(dir, "issuer.jwks")
	if err := os.WriteFile(keys, issuer.KeySet(), 0o600); err != nil {
		return err
	}
	config := issuer.Config()
	w.token = issuer.Token(map[string]any{
		"org": tenantName(0), "groups": []string{callerRole}, "exp": time.Now().Add(24 * time.Hour).Unix(),
	})
	w.file = filepath.Join(dir, "gateway.yaml")
	large := bucket{rate: largeBurst, burst: largeBurst}
	return writeGatewayFile(w.file, map[string]any{
		"issuers": []any{map[string]any{
			"issuer": config.Issuer, "audiences": config.Audiences, "jwks_file": keys, "tenant": config.Tenant, "roles": config.Roles,
		}},
		"limits": []any{large.limit("per-tenant", "tenant"), large.limit("per-model", "tenant", "model")},
	})
}

// writeGatewayFile writes a gateway's file with these fields.
func writeGatewayFile(path string, fields map[string]any) error {
	file := map[string]any{"apiVersion": "modelserve.dev/v1", "kind": "Gateway"}
	maps.Copy(file, fields)
	text, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func tenantName(i int) string { return fmt.Sprintf("tenant-%d", i) }

// fill stores the tenants, a transaction each.
func (w *world) fill(ctx context.Context) (err error) {
	store, err := postgres.Open(ctx, w.server.URL(w.full))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var position rights.Position
	for i := range manyTenants {
		change, texts, err := w.tenant(tenantName(i))
		if err != nil {
			return err
		}
		position, err = store.Commit(ctx, position, func(*rights.Update) (*rights.Stored, error) { return &rights.Stored{Change: *change}, nil })
		if err != nil {
			return err
		}
		w.keys = append(w.keys, texts...)
	}
	return nil
}

// tenant is all of one. Its keys may call by a role that inherits, and some by grants
// of the first besides.
func (w *world) tenant(name string) (change *access.Change, texts []string, err error) {
	now := time.Now()
	change = &access.Change{Roles: []*access.Role{
		{Tenant: name, Name: callerRole, Inherits: []string{"reader-0"}, Permissions: []auth.Permission{auth.ModelsRead}, UpdatedAt: now},
	}}
	for i := range manyRoles {
		change.Roles = append(change.Roles, &access.Role{
			Tenant: name, Name: fmt.Sprintf("reader-%d", i), UpdatedAt: now,
			Permissions: []auth.Permission{auth.Infer(tinyModel), auth.Infer(fmt.Sprintf("model-%d", i))},
		})
	}
	for i := range manyKeys / manyTenants {
		spec := auth.KeySpec{
			Name: fmt.Sprintf("service %d", i), Tenant: name, Roles: []string{callerRole, fmt.Sprintf("reader-%d", i%manyRoles)},
			Scopes: []auth.Permission{auth.Infer(fmt.Sprintf("own-%d-*", i))},
		}
		if i == 0 {
			spec.Scopes = []auth.Permission{auth.InferAll}
		}
		text, key, err := w.hasher.NewKey(spec, now)
		if err != nil {
			return nil, nil, err
		}
		change.Keys, texts = append(change.Keys, key), append(texts, text)
	}
	giver := access.Giver{Tenant: name, Key: change.Keys[0].Lineage}
	for i := range manyGrants {
		change.Grants = append(change.Grants, &access.Grant{
			ID: fmt.Sprintf("%s-grant-%d", name, i), Tenant: name, To: access.Recipient{Key: change.Keys[i].Lineage}, By: giver,
			Permissions: []auth.Permission{auth.Infer(fmt.Sprintf("given-%d", i))}, CreatedAt: now,
		})
	}
	return change, texts, nil
}

// environment is that of the gateway's own program.
func (w *world) environment(p *platform, g *weighed, database string) (map[string]string, error) {
	_, port, err := net.SplitHostPort(g.address)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PORT": port, "MODELSERVE_METRICS_ADDRESS": g.metrics, "MODELSERVE_GATEWAY_DB": w.server.URL(database), "MODELSERVE_ROUTES": w.routes,
		"MODELSERVE_ADMIN_KEY": w.admin, "MODELSERVE_HASH_KEYS": w.hashKey.String(), "MODELSERVE_POLICIES": filepath.Join(p.data, "bench-policies", port),
		"MODELSERVE_GATEWAY_FILE": w.file, "MODELSERVE_REDIS": w.redis.URL(),
	}
	maps.Copy(env, p.s3)
	return env, nil
}
