package values_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/values"
	"github.com/modelserveai/modelserve/pipelines/values/valuestest"
	"github.com/modelserveai/modelserve/problem"
)

const most = 1 << 20

func text(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`) }

func TestSmallValuesStayInline(t *testing.T) {
	t.Parallel()
	objects := valuestest.New()
	v := values.New(objects, "b", most)
	for _, c := range []struct {
		name   string
		value  json.RawMessage
		inline string
		stored bool
		code   problem.Code
	}{
		{"small", json.RawMessage(` {"a": 1} `), `{"a":1}`, false, ""},
		{"largest inline", text(envelope.MaxInline), string(text(envelope.MaxInline)), false, ""},
		{"one byte more", text(envelope.MaxInline + 1), "", true, ""},
		{"largest", text(most), "", true, ""},
		{"too large", text(most + 1), "", false, problem.PayloadTooLarge},
		{"no JSON", json.RawMessage(`{`), "", false, problem.MalformedBody},
	} {
		got, err := v.Keep(t.Context(), "acme", "x1", "input", c.value)
		if problem.CodeOf(err) != c.code || string(got.JSON) != c.inline || (got.Claim != nil) != c.stored {
			t.Errorf("%s: %.100s, %+v, %v", c.name, got.JSON, got.Claim, err)
			continue
		}
		if err != nil {
			continue
		}
		back, err := v.Fetch(t.Context(), "acme", "x1", got)
		want, _ := envelope.Compact(c.value)
		if err != nil || string(back) != string(want) {
			t.Errorf("%s: fetched %.100s, %v", c.name, back, err)
		}
	}
}

func TestAClaimCheckIsHeldToItsBytesAndOwner(t *testing.T) {
	t.Parallel()
	objects := valuestest.New()
	v := values.New(objects, "b", most)
	kept, err := v.Keep(t.Context(), "acme", "x1", "output", text(100_000))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimPrefix(kept.Claim.Ref, "s3://b/")
	if !strings.HasPrefix(key, "payloads/acme/x1/output-") {
		t.Errorf("stored at %s", key)
	}
	changed := func(change func(c *envelope.Claim)) envelope.Value {
		c := *kept.Claim
		change(&c)
		return envelope.Value{Claim: &c}
	}
	for _, c := range []struct {
		name              string
		tenant, execution string
		value             envelope.Value
	}{
		{"another tenant", "evil", "x1", kept},
		{"another execution", "acme", "x2", kept},
		{"another bucket", "acme", "x1", changed(func(c *envelope.Claim) { c.Ref = "s3://other/" + key })},
		{"another object", "acme", "x1", changed(func(c *envelope.Claim) { c.Ref += "x" })},
		{"a way out", "acme", "x1", changed(func(c *envelope.Claim) { c.Ref = "s3://b/payloads/acme/x1/../../evil/x/y" })},
		{"models", "acme", "x1", changed(func(c *envelope.Claim) { c.Ref = "s3://b/models/m/1/model.json" })},
		{"another length", "acme", "x1", changed(func(c *envelope.Claim) { c.Size-- })},
		{"another hash", "acme", "x1", changed(func(c *envelope.Claim) { c.SHA256 = envelope.Sum(nil) })},
	} {
		if got, err := v.Fetch(t.Context(), c.tenant, c.execution, c.value); problem.CodeOf(err) != problem.InvalidArgument {
			t.Errorf("%s: %.20s, %v", c.name, got, err)
		}
	}
	if err := objects.Put(t.Context(), key, values.JSON, text(100_001)[1:]); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Fetch(t.Context(), "acme", "x1", kept); !errors.Is(err, envelope.ErrDamaged) {
		t.Errorf("changed: %v", err)
	}
	objects.Fail(errors.New("away"))
	if _, err := v.Fetch(t.Context(), "acme", "x1", kept); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("away: %v", err)
	}
	if _, err := v.Keep(t.Context(), "acme", "x1", "output", text(100_000)); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("keep while away: %v", err)
	}
}

func TestACopyOutlivesTheFirst(t *testing.T) {
	t.Parallel()
	v := values.New(valuestest.New(), "b", most)
	kept, err := v.Keep(t.Context(), "acme", "x1", "input", text(100_000))
	if err != nil {
		t.Fatal(err)
	}
	copied, err := v.Copy(t.Context(), "acme", "x1", "x2", "input", kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Erase(t.Context(), "acme", "x1"); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Fetch(t.Context(), "acme", "x2", copied); err != nil || len(got) != 100_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := v.Fetch(t.Context(), "acme", "x1", kept); !errors.Is(err, values.ErrMissing) {
		t.Errorf("erased: %v", err)
	}
	given := envelope.Value{Claim: &envelope.Claim{Ref: "s3://b/inputs/acme/page.json"}}
	if got, err := v.Copy(t.Context(), "acme", "x1", "x2", "input", given); err != nil || got.Claim.Ref != given.Claim.Ref {
		t.Errorf("a tenant's input: %+v, %v", got.Claim, err)
	}
}

func TestWhatNobodyRefersToIsSwept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		objects := valuestest.New()
		v := values.New(objects, "b", most)
		put := func(tenant, execution, name string) {
			if _, err := v.Store(t.Context(), tenant, execution, name, "image/png", []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 450 {
			put("acme", fmt.Sprintf("gone%d", i), "a")
		}
		put("acme", "kept", "a")
		put("acme", "kept", "b")
		put("other", "gone", "a")
		put("acme", "fresh", "a")
		if err := objects.Put(t.Context(), "payloads/stray", "", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		before := time.Now()
		put("acme", "fresh", "b")
		put("acme", "new", "a")
		removed, err := v.Sweep(t.Context(), before, func(_ context.Context, ask []values.Owner) (map[values.Owner]bool, error) {
			known := map[values.Owner]bool{}
			for _, o := range ask {
				if o.Execution == "fresh" || o.Execution == "new" {
					t.Errorf("asked for %s, which is new", o.Execution)
				}
				known[o] = o.Execution == "kept"
			}
			return known, nil
		})
		var owners []string
		for _, key := range objects.Keys() {
			name, _, _ := strings.Cut(key, "-")
			owners = append(owners, name)
		}
		want := []string{
			"payloads/acme/fresh/a", "payloads/acme/fresh/b", "payloads/acme/kept/a", "payloads/acme/kept/b",
			"payloads/acme/new/a", "payloads/stray",
		}
		if diff := cmp.Diff(want, owners); diff != "" || removed != 451 || err != nil {
			t.Errorf("removed %d, %v; left (-want +got):\n%s", removed, err, diff)
		}
	})
}
