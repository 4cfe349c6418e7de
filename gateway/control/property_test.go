package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// player plays changes by two tenants and an admin, against the world that they should make.
type player struct {
	*api

	rng   *rand.Rand
	world *world
	skip  string         // a tenant that does nothing
	is    map[string]int // statuses, how often
}

const theAdmins = "default"

func play(t *testing.T, seed uint64, skip string) *player {
	t.Helper()
	p := &player{api: newAPI(t), rng: rand.New(rand.NewPCG(seed, 1)), world: &world{}, skip: skip, is: map[string]int{}}
	p.seed(theAdmins, auth.Admin)
	p.seed(theAdmins, auth.KeysAdmin, auth.RolesAdmin, auth.InferAll) // who may be an admin by a grant
	for _, tenant := range []string{"acme", "other"} {
		p.seed(tenant, auth.KeysAdmin, auth.RolesAdmin, auth.InferAll, auth.ModelsWrite)
		p.seed(tenant, auth.RolesAdmin, auth.Infer("a"))
		p.seed(tenant, auth.ModelsRead)
	}
	return p
}

func (p *player) seed(tenant string, scopes ...auth.Permission) {
	time.Sleep(time.Second) // so that lists are in order of it
	k := p.stored(auth.KeySpec{Name: "seed", Tenant: tenant, Scopes: scopes})
	p.world.keys = append(p.world.keys, &keyModel{id: k.ID, tenant: tenant, lineage: k.Lineage, scopes: scopes})
}

// universe are the permissions that are played with.
func universe() []auth.Permission {
	return []auth.Permission{auth.Infer("a"), auth.Infer("b"), auth.InferAll, auth.ModelsRead, auth.ModelsWrite, auth.KeysAdmin, auth.RolesAdmin, auth.Admin}
}

// some are up to n of a list.
func some[T comparable](rng *rand.Rand, n int, of []T) []T {
	out := []T{}
	for range rng.IntN(n + 1) {
		if one := of[rng.IntN(len(of))]; !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}

func toJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of texts alone
	}
	return string(data)
}

// step makes one change, and holds its status to the world's.
func (p *player) step() {
	// All that is random is drawn first, so that what one tenant does changes no other's draws.
	kind, tenant := p.rng.IntN(8), []string{"acme", "other", theAdmins}[p.rng.IntN(3)]
	by, on, wait := p.rng.IntN(1000), p.rng.IntN(1000), time.Duration(p.rng.IntN(40))*time.Minute
	target := []string{"acme", "other", theAdmins}[p.rng.IntN(3)]
	permissions := some(p.rng, 2, universe())
	if p.skip != "" { // an admin sees the other tenant
		permissions = slices.DeleteFunc(permissions, func(p auth.Permission) bool { return p == auth.Admin })
	}
	roles := some(p.rng, 1, []string{"r1", "r2", "e1", "viewer"})
	name := []string{"r1", "r2"}[p.rng.IntN(2)]
	life, toTenant := p.rng.IntN(3), p.rng.IntN(3) == 0
	if tenant != theAdmins {
		target = tenant
	} else {
		name = "e1"
		if p.skip != "" && (kind != 2 || len(roles) > 0) { // what an admin does to one tenant shows in no other
			return
		}
	}
	if tenant == p.skip {
		return
	}
	actor := p.world.key(tenant, by)
	p.caller = p.mirror.Key(actor.id).Principal()
	var ends time.Time
	var in string
	if life > 0 {
		in = (time.Duration(life) * 90 * time.Minute).String()
		ends = time.Now().Add(time.Duration(life) * 90 * time.Minute).Truncate(time.Millisecond)
	}
	switch kind {
	case 0, 1:
		if len(permissions)+len(roles) == 0 {
			return
		}
		k := &keyModel{tenant: target, scopes: permissions, roles: roles, ends: ends}
		want := p.world.mayCreate(actor, k)
		got := p.does(want, "POST", "/v1/keys", fmt.Sprintf(`{"name":"k","tenant":%q,"scopes":%s,"roles":%s,"expires_in":%q}`, target, toJSON(permissions), toJSON(roles), in))
		k.id, k.lineage = got, got
	case 2:
		want := p.world.mayPut(actor, &roleModel{p.world.whose(actor, name), name, permissions, roles})
		p.does(want, "PUT", "/v1/roles/"+name, fmt.Sprintf(`{"permissions":%s,"inherits":%s}`, toJSON(permissions), toJSON(roles)))
	case 3:
		p.does(p.world.mayDelete(actor, p.world.whose(actor, name), name), "DELETE", "/v1/roles/"+name, "")
	case 4:
		if len(permissions)+len(roles) == 0 {
			return
		}
		g := &grantModel{tenant: target, toTenant: target, byTenant: actor.tenant, byKey: actor.lineage, permissions: permissions, roles: roles, ends: ends}
		to := fmt.Sprintf(`{"tenant":%q}`, target)
		if !toTenant {
			k := p.world.key(target, on)
			g.toKey, g.toTenant, to = k.lineage, "", fmt.Sprintf(`{"key":%q}`, k.id)
		}
		want := p.world.mayGrant(actor, g)
		g.id = p.does(want, "POST", "/v1/grants", fmt.Sprintf(`{"to":%s,"tenant":%q,"permissions":%s,"roles":%s,"expires_in":%q}`, to, target, toJSON(permissions), toJSON(roles), in))
	case 5:
		ours := slices.DeleteFunc(slices.Clone(p.world.grants), func(g *grantModel) bool { return g.tenant != target || ended(g.ends) })
		if len(ours) > 0 {
			g := ours[on%len(ours)]
			p.does(p.world.mayEnd(actor, g), "DELETE", "/v1/grants/"+g.id, "")
		}
	case 6:
		next := &keyModel{}
		k := p.world.key(target, on)
		next.id = p.does(p.world.mayRotate(actor, k, next, time.Hour), "POST", "/v1/keys/"+k.id+"/rotate", `{"overlap":"1h"}`)
	default:
		k := p.world.key(target, on)
		if on%4 == 0 && !slices.Contains(k.scopes, auth.KeysAdmin) && !slices.Contains(k.scopes, auth.Admin) {
			p.does(p.world.mayRevoke(actor, k), "DELETE", "/v1/keys/"+k.id, "")
		}
	}
	if p.skip == "" {
		time.Sleep(wait)
	}
}

// does makes a request that has to have a status, and returns the id of what it made.
func (p *player) does(want int, method, path, body string) (id string) {
	p.t.Helper()
	got := p.do(request{method: method, path: path, body: strings.ReplaceAll(body, `"expires_in":""`, `"expires_in":null`)})
	p.is[fmt.Sprint(method, got.status)]++
	if got.status != want {
		p.t.Fatalf("%s %s %s by %s: %d %s, want %d", method, path, body, p.caller.ID, got.status, got.body, want)
	}
	var made struct{ ID string }
	if got.body != "" && got.status < 300 {
		if err := json.Unmarshal([]byte(got.body), &made); err != nil {
			p.t.Fatal(err)
		}
	}
	return made.ID
}

// holds compares what each key may do with the world's, and with what is explained of it.
func (p *player) holds() {
	p.t.Helper()
	state, now := p.mirror.State(), time.Now()
	for _, k := range p.world.keys {
		stored, err := p.store.Key(context.Background(), k.id)
		if err != nil {
			p.t.Fatal(err)
		}
		if good := stored.Status(now) == auth.Active; good != k.live() {
			p.t.Fatalf("key %s is %s, in the world it is %v", k.id, stored.Status(now), k.live())
		}
		if !k.live() {
			continue
		}
		has := p.world.holds(k)
		for _, permission := range universe() {
			want := covers(has, []auth.Permission{permission})
			if got := state.Rights(stored.Principal(), now).Allows(permission); got != want {
				p.t.Fatalf("key %s of %s: %s is %v, want %v", k.id, k.tenant, permission, got, want)
			}
			if e := state.ExplainKey(stored, now, permission); e.Allowed != want || len(e.Because) == 0 {
				p.t.Fatalf("key %s: %s is explained as %+v, want %v", k.id, permission, e, want)
			}
		}
	}
	live := func(ends time.Time) bool { return ends.IsZero() || now.Before(ends) } // others go when room is made
	grants := slices.DeleteFunc(slices.Clone(state.Tenant("acme").Grants), func(g *access.Grant) bool { return !live(g.ExpiresAt) })
	mine := slices.DeleteFunc(slices.Clone(p.world.grants), func(g *grantModel) bool { return g.tenant != "acme" || !live(g.ends) })
	if diff := cmp.Diff(sortedIDs(mine, func(g *grantModel) string { return g.id }), sortedIDs(grants, func(g *access.Grant) string { return g.ID })); diff != "" {
		p.t.Fatal(diff)
	}
}

// TestNobodyHoldsMoreThanWasGiven plays changes by two tenants and an admin, with time going on,
// and holds every decision, and all that each key may do after it, to a plain model: nobody
// gets what nobody gave them, and a grant never exceeds its giver.
func TestNobodyHoldsMoreThanWasGiven(t *testing.T) {
	t.Parallel()
	all := map[string]int{}
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			p := play(t, seed, "")
			for range 120 {
				p.step()
				p.holds()
			}
			for status, n := range p.is {
				all[status] += n
			}
		})
	}
	for _, status := range []string{"POST201", "POST403", "POST400", "POST409", "PUT200", "PUT201", "PUT403", "DELETE204", "DELETE403", "DELETE409"} {
		if all[status] == 0 {
			t.Errorf("no change had the status %s: %v", status, all)
		}
	}
}

// views is all that a tenant sees, with ids numbered as they come.
func (p *player) views(tenant string) string {
	var b strings.Builder
	k := p.world.key(tenant, 0)
	p.caller = p.mirror.Key(k.id).Principal()
	p.caller.Scopes = append(slices.Clone(p.caller.Scopes), auth.AuditRead)
	p.caller.ID = "key:looks" // so that what is known of the key's rights is not
	p.caller.Lineage = ""
	for _, path := range []string{
		"/v1/keys?limit=3", "/v1/keys?limit=200", "/v1/roles", "/v1/roles/r1", "/v1/roles/e1", "/v1/grants?limit=200", "/v1/keys/nobody", "/v1/grants/nobody",
		"/v1/access?action=infer&resource=a", "/v1/access?action=roles:admin", "/v1/audit/verify", "/v1/audit/chains",
	} {
		got := p.do(request{path: path})
		fmt.Fprintf(&b, "%s %d %s\n", path, got.status, got.body)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(p.do(request{path: "/v1/audit?limit=200"}).body), &fields); err != nil {
		p.t.Fatal(err)
	}
	for _, e := range list(fields, "entries") {
		entry, _ := e.(map[string]any)
		fmt.Fprintln(&b, entry["seq"], entry["actor"], entry["action"], entry["resource"])
	}
	cursors := regexp.MustCompile(`"next_cursor":"[^"]*"`) // which have ids in them
	seen := map[string]string{}
	return regexp.MustCompile(`\b[a-z2-7]{12}\b`).ReplaceAllStringFunc(cursors.ReplaceAllString(b.String(), `"next_cursor":"…"`), func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("ID%d", len(seen))
		}
		return seen[id]
	})
}

// TestATenantDoesNotShow holds that a tenant sees the same, in lists, counts, errors and
// explanations, whether another has keys, roles and grants or not.
func TestATenantDoesNotShow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var views []string
			for _, skip := range []string{"acme", "nobody"} {
				synctest.Test(t, func(t *testing.T) {
					p := play(t, seed, skip)
					for range 150 {
						p.step()
						time.Sleep(time.Second)
					}
					if p.is["POST201"] == 0 {
						t.Error("nothing was made")
					}
					views = append(views, p.views("other"))
				})
			}
			if diff := cmp.Diff(strings.Split(views[0], "\n"), strings.Split(views[1], "\n")); diff != "" {
				t.Errorf("without and with the other tenant:\n%s", diff)
			}
		})
	}
}
