package access_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/problem"
)

// many are n permissions that are apart, of one role or grant.
func many(of string, n int) (out []auth.Permission) {
	for i := range n {
		out = append(out, auth.Infer(fmt.Sprintf("%s-%d-x*", of, i)))
	}
	return out
}

// TestWhatRolesAndGrantsComeToIsBounded holds that no tenant's are more than can be
// computed while others wait, and that what is within the bounds is taken.
func TestWhatRolesAndGrantsComeToIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.RolesAdmin, auth.InferAll), key("t", "low", auth.ModelsRead), key("u", "other", auth.RolesAdmin, auth.InferAll))
	most := access.Bounds{Keys: 1000, Roles: 100, Grants: 1000}
	by := func(id string) *access.Decider {
		d := w.by(id)
		d.Bounds = most
		return d
	}
	role := func(tenant string, i, n int, inherits ...string) *access.Role {
		name := fmt.Sprintf("r%d", i)
		return &access.Role{Tenant: tenant, Name: name, Inherits: inherits, Permissions: many(name, n)}
	}
	for i := range 10 {
		var before []string
		if i > 0 {
			before = []string{fmt.Sprintf("r%d", i-1)}
		}
		w.does(by("boss").PutRole(role("t", i, 100, before...)))
	}
	change, err := by("boss").PutRole(role("t", 10, 1))
	w.refused(problem.Conflict, change, err)
	if err == nil || !strings.Contains(err.Error(), "1001 permissions") {
		t.Errorf("the error is %v", err)
	}
	w.does(by("other").PutRole(role("u", 0, 100))) // whose are their own
	w.does(by("boss").PutRole(role("t", 9, 99, "r8")))

	give := func(i int, role string) *access.Grant {
		g := grant(fmt.Sprintf("g%d", i), "t", access.Recipient{Tenant: "t"}, giver("t", "boss"))
		g.Roles = []string{role}
		return g
	}
	for i := range 19 { // of 999 permissions and ten roles each
		w.does(by("boss").Grant(give(i, "r9")))
	}
	change, err = by("boss").Grant(give(19, "r9"))
	w.refused(problem.Conflict, change, err)
	w.does(by("boss").Grant(give(19, "r0")))
	w.does(by("boss").PutRole(role("t", 9, 1, "r8")))
	w.expect("low", auth.Infer("r8-99-xyz"), true)
	w.expect("low", auth.Infer("r9-99-xyz"), false)
	w.expect("other", auth.ModelsRead, false)
}

// TestAThousandGrantsOfTheLargestBuiltInRoleFit holds that the bound of what grants give
// is none for those who give what is there.
func TestAThousandGrantsOfTheLargestBuiltInRoleFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, key("t", "boss", auth.Admin), key("t", "low", auth.ModelsRead))
	change := &access.Change{}
	for i := range 999 {
		g := grant(fmt.Sprintf("g%d", i), "t", to("low"), giver("t", "boss"))
		g.Roles = []string{"deployer"}
		change.Grants = append(change.Grants, g)
	}
	w.state = w.state.Apply(change)
	d := w.by("boss")
	d.Bounds = access.DefaultBounds()
	last := grant("last", "t", to("low"), giver("t", "boss"))
	last.Roles = []string{"deployer"}
	w.does(d.Grant(last))
	w.expect("low", auth.ModelsWrite, true)
}

// BenchmarkTheMostOfATenant is what computing the rights of a tenant takes that has as
// much as one may, and what its keys' rights take, in memory.
func BenchmarkTheMostOfATenant(b *testing.B) {
	change := &access.Change{}
	for i := range 10 {
		r := &access.Role{Tenant: "t", Name: fmt.Sprintf("r%d", i), Permissions: many(fmt.Sprint(i), 100)}
		if i > 0 {
			r.Inherits = []string{fmt.Sprintf("r%d", i-1)}
		}
		change.Roles = append(change.Roles, r)
	}
	for i := range 1000 {
		k := key("t", fmt.Sprintf("k%d", i), auth.ModelsRead)
		k.Roles = []string{"r9"}
		change.Keys = append(change.Keys, k)
		g := grant(fmt.Sprintf("g%d", i), "t", access.Recipient{Tenant: "t"}, giver("t", k.ID), many("g", 1)...)
		if i < 18 {
			g.Roles = []string{"r9"}
		}
		change.Grants = append(change.Grants, g)
	}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse) / 1e6
	}
	for b.Loop() {
		state := access.NewState().Apply(change)
		before, began := heap(), time.Now()
		state.Rights(change.Keys[0].Principal(), now())
		b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/solve")
		for _, k := range change.Keys[:199] { // who else comes has the others' rights forgotten
			state.Rights(k.Principal(), now())
		}
		b.ReportMetric(heap()-before, "MB")
		runtime.KeepAlive(state)
	}
}
