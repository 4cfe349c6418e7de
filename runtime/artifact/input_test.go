package artifact

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// put stores five bytes under each key.
func put(t testing.TB, s3 *fakeS3, keys ...string) {
	t.Helper()
	for _, key := range keys {
		s3.Put(t, key, "image/png", []byte("12345"))
	}
}

func TestOpenInput(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	put(t, s3, "inputs/a/page.png", "inputs/a/b/page.png", "inputs/ab/page.png", "inputs/page.png", "models/iris/1/secret",
		"payloads/a/e1/page.png", "inputs/public/page.png", "inputs/forms/2026/page.png", "inputs/forms/page.png", "payloads/public/page.png")
	for name, tc := range map[string]struct {
		tenant, ref string
		most        int64
		want        problem.Code
	}{
		"good":                  {"a", "s3://models/inputs/a/page.png", 5, ""},
		"a folder below":        {"a", "s3://models/inputs/a/b/page.png", 5, ""},
		"too large":             {"a", "s3://models/inputs/a/page.png", 4, problem.PayloadTooLarge},
		"nothing there":         {"a", "s3://models/inputs/a/b", 5, problem.InvalidArgument},
		"a payload":             {"a", "s3://models/payloads/a/e1/page.png", 5, ""},
		"another's payload":     {"b", "s3://models/payloads/a/e1/page.png", 5, problem.InvalidArgument},
		"shared":                {"a", "s3://models/inputs/public/page.png", 5, ""},
		"shared, two folders":   {"b", "s3://models/inputs/forms/2026/page.png", 5, ""},
		"shared, to nobody":     {"", "s3://models/inputs/public/page.png", 5, problem.InvalidArgument},
		"beside what is shared": {"a", "s3://models/inputs/forms/page.png", 5, problem.InvalidArgument},
		"shared by half a name": {"a", "s3://models/inputs/publi/page.png", 5, problem.InvalidArgument},
		"shared, not there":     {"a", "s3://models/inputs/public/other.png", 5, problem.InvalidArgument},
		"shared as payloads":    {"a", "s3://models/payloads/public/page.png", 5, problem.InvalidArgument},
		"up from what is":       {"a", "s3://models/inputs/public/../page.png", 5, problem.InvalidArgument},
		"payloads of no tenant": {"a", "s3://models/payloads/page.png", 5, problem.InvalidArgument},
		"another's":             {"b", "s3://models/inputs/a/page.png", 5, problem.InvalidArgument},
		"of a longer name":      {"a", "s3://models/inputs/ab/page.png", 5, problem.InvalidArgument},
		"of a shorter name":     {"ab", "s3://models/inputs/a/b/page.png", 5, problem.InvalidArgument},
		"of no tenant":          {"a", "s3://models/inputs/page.png", 5, problem.InvalidArgument},
		"nobody's call":         {"", "s3://models/inputs/a/page.png", 5, problem.InvalidArgument},
		"nobody, an empty part": {"", "s3://models/inputs//page.png", 5, problem.InvalidArgument},
		"a tenant that climbs":  {"..", "s3://models/inputs/../models/iris/1/secret", 5, problem.InvalidArgument},
		"a tenant with a slash": {"a/b", "s3://models/inputs/a/b/page.png", 5, problem.InvalidArgument},
		"a tenant in capitals":  {"A", "s3://models/inputs/A/page.png", 5, problem.InvalidArgument},
		"two tenants":           {"a, b", "s3://models/inputs/a/page.png", 5, problem.InvalidArgument},
		"another prefix":        {"a", "s3://models/models/iris/1/secret", 5, problem.InvalidArgument},
		"a way up":              {"a", "s3://models/inputs/a/../../models/iris/1/secret", 5, problem.InvalidArgument},
		"a way up, encoded":     {"b", "s3://models/inputs/b/%2e%2e/a/page.png", 5, problem.InvalidArgument},
		"a slash, encoded":      {"a", "s3://models/inputs%2fa/page.png", 5, problem.InvalidArgument},
		"another bucket":        {"a", "s3://other/inputs/a/x", 5, problem.InvalidArgument},
		"a longer bucket":       {"a", "s3://models2/inputs/a/x", 5, problem.InvalidArgument},
		"another scheme":        {"a", "file:///inputs/a/x", 5, problem.InvalidArgument},
		"no scheme":             {"a", "inputs/a/x", 5, problem.InvalidArgument},
		"nothing":               {"a", "", 5, problem.InvalidArgument},
		"the prefix alone":      {"a", "s3://models/inputs/a/", 5, problem.InvalidArgument},
		"an empty part":         {"a", "s3://models/inputs//a/page.png", 5, problem.InvalidArgument},
		"a query":               {"a", "s3://models/inputs/a/x?versionId=1", 5, problem.InvalidArgument},
		"a control character":   {"a", "s3://models/inputs/a/x\n", 5, problem.InvalidArgument},
		"what is no UTF-8":      {"a", "s3://models/inputs/a/\xff", 5, problem.InvalidArgument},
		"of a thousand bytes":   {"a", "s3://models/inputs/a/" + strings.Repeat("a", 2000), 5, problem.InvalidArgument},
		"of a key too long":     {"a", "s3://models/inputs/a/" + strings.Repeat("a", 1025-len("inputs/a/")), 5, problem.InvalidArgument},
		"with another's access": {"a", "s3://key:secret@models/inputs/a/x", 5, problem.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, err := store.OpenInput(t.Context(), Asked{Field: "image.ref", Ref: tc.ref, Tenant: tc.tenant, Shared: []string{"public", "forms/2026"}, Most: tc.most})
			if problem.CodeOf(err) != tc.want {
				t.Fatalf("OpenInput: %v, want %q", err, tc.want)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "image.ref") {
					t.Errorf("the field is not named: %v", err)
				}
				return
			}
			defer in.Close()
			var b bytes.Buffer
			if _, err := b.ReadFrom(in); err != nil || b.String() != "12345" || in.Size != 5 || in.ContentType != "image/png" {
				t.Errorf("%q %+v %v", b.String(), in, err)
			}
		})
	}
}

// TestAnotherTenantsInputsLookAbsent holds that a tenant cannot distinguish what
// another stored from what nobody did: neither by the answer, nor by what S3 is
// asked, which is what takes the time, nor while S3 fails.
func TestAnotherTenantsInputsLookAbsent(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	put(t, s3, "inputs/a/page.png", "inputs/b/"+notYours)
	var asked atomic.Int64
	var status atomic.Int64
	s3.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		asked.Add(1)
		if r.Method != http.MethodHead || !strings.HasPrefix(r.URL.Path, "/models/inputs/b/") {
			t.Errorf("for tenant b S3 is asked %s %s", r.Method, r.URL.Path)
		}
		if code := int(status.Load()); code != 0 {
			w.WriteHeader(code)
			return
		}
		next.ServeHTTP(w, r)
	})
	answer := func(ref string) (text string, code problem.Code, questions int64) {
		t.Helper()
		asked.Store(0)
		_, err := store.OpenInput(t.Context(), Asked{Field: "image.ref", Ref: ref, Tenant: "b", Most: 5})
		if err == nil {
			t.Fatalf("%s is opened for tenant b", ref)
		}
		return strings.ReplaceAll(err.Error(), ref, "REF"), problem.CodeOf(err), asked.Load()
	}
	for _, code := range []int64{0, http.StatusForbidden, http.StatusBadRequest} {
		status.Store(code)
		text, kind, questions := answer("s3://models/inputs/b/page.png") // not there
		for name, ref := range map[string]string{
			"another's payload":    "s3://models/payloads/a/page.png",
			"another's, there":     "s3://models/inputs/a/page.png",
			"another's, not there": "s3://models/inputs/a/pages.png",
			"of no tenant":         "s3://models/inputs/page.png",
		} {
			if got, k, n := answer(ref); got != text || k != kind || n != questions {
				t.Errorf("S3 answering %d, what is %s is answered %s (%s, %d questions), and what is not there %s (%s, %d)", code, name, got, k, n, text, kind, questions)
			}
		}
	}
}

func TestWhatIsSharedIsAFolder(t *testing.T) {
	t.Parallel()
	for folder, good := range map[string]bool{
		"public": true, "forms/2026": true, "": false, "/": false, "public/": false, "/public": false, "a//b": false, "..": false, "a/../b": false, ".": false, "a\\b": false, "a?b": false,
	} {
		if err := CheckShared(folder); (err == nil) != good {
			t.Errorf("%q: %v", folder, err)
		}
	}
}

// FuzzInputKey holds that no reference and no tenant lead to a key that is not
// plainly below that tenant's inputs or payloads, or what is shared.
func FuzzInputKey(f *testing.F) {
	for _, tenant := range []string{"a", "tenant-b", "", "..", "a/b", "A", "a%2fb", "xn--a", strings.Repeat("a", 64)} {
		for _, ref := range []string{
			"s3://models/inputs/a/x", "s3://models/inputs/tenant-b/x/y.png", "s3://models/inputs/a/../b/x", "s3://models/inputs/../models/iris/1/model.json",
			"s3://models/inputs//a", "s3://models/inputs/%2e%2e/a", "s3://models/inputs/a/.", "s3://models/inputs/a\\..\\b", "s3://models/inputs/..", "s3://models/inputs/a/x?versionId=1", "",
			"s3://models/payloads/a/e/x", "s3://models/payloads/../inputs/a/x", "s3://models/inputs/public/x", "s3://models/inputs/public/../a/x",
		} {
			f.Add(tenant, ref)
		}
	}
	store := &Store{bucket: "models"}
	f.Fuzz(func(t *testing.T, tenant, ref string) {
		key, mine, err := store.inputKey(Asked{Field: "ref", Ref: ref, Tenant: tenant, Shared: []string{"public"}, Most: 1})
		if err != nil {
			if problem.CodeOf(err) != problem.InvalidArgument || key != "" || mine {
				t.Fatalf("%q for %q: %q, %v, %v", ref, tenant, key, mine, err)
			}
			return
		}
		if _, bad := infer.ParseName(tenant); bad != nil {
			t.Fatalf("%q is opened for the tenant %q", ref, tenant)
		}
		rest, ok := "", false
		for _, prefix := range []string{"inputs/" + tenant + "/", "payloads/" + tenant + "/", "inputs/public/"} {
			if !ok {
				rest, ok = strings.CutPrefix(key, prefix)
			}
		}
		if !ok || rest == "" {
			t.Fatalf("%q for %q is the key %q", ref, tenant, key)
		}
		for part := range strings.SplitSeq(rest, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\\?#\x00\r\n") {
				t.Fatalf("%q for %q is the key %q", ref, tenant, key)
			}
		}
		if mine && "s3://models/"+key != ref {
			t.Fatalf("%q for %q is another key, %q", ref, tenant, key)
		}
	})
}

// TestPutPayload holds that a value is stored below payloads/ alone, and can be opened
// by the address that is returned.
func TestPutPayload(t *testing.T) {
	t.Parallel()
	s3 := newFakeS3(t)
	store := s3.store(t)
	ref, err := store.PutPayload(t.Context(), "payloads/acme/ex1/a.0.1-00.json", "application/json", []byte(`{"a":1}`))
	if err != nil || ref != "s3://models/payloads/acme/ex1/a.0.1-00.json" {
		t.Fatal(ref, err)
	}
	in, err := store.OpenInput(t.Context(), Asked{Field: "input", Ref: ref, Tenant: "acme", Most: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if in.Size != 7 || in.ContentType != "application/json" {
		t.Errorf("%d bytes of %s", in.Size, in.ContentType)
	}
	for _, key := range []string{"inputs/acme/a", "models/a/1/model.json", "payloads/acme/../../models/a", "payloads//a", "payloads/" + strings.Repeat("a", maxKey)} {
		if ref, err := store.PutPayload(t.Context(), key, "application/json", nil); err == nil {
			t.Errorf("stored as %s", ref)
		}
	}
}
