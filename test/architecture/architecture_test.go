// Package architecture holds the code to its own map: which package may import
// which, what each binary must never link, and a comment on every package.
//
// docs/architecture.md is the map; a change of a rule here is a change there.
package architecture

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/modelserveai/modelserve/"

// listed is what go list tells of a package.
type listed struct {
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
	CgoFiles   []string
	Deps       []string
}

func (p *listed) path() string { return strings.TrimPrefix(p.ImportPath, module) }

var list = sync.OnceValues(func() ([]listed, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,GoFiles,Imports,CgoFiles,Deps", module+"...").Output()
	if err != nil {
		return nil, err
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := decoder.Decode(&p); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []listed {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d packages listed: the rules would hold of nothing", len(all))
	}
	return all
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles)+len(p.CgoFiles) > 0 { // go list reads no comment of tests alone
			t.Errorf("%s has no package comment", p.path())
		}
	}
}

// layer says what of our own a tree may import, itself and the leaves aside.
type layer struct {
	tree string
	may  []string
}

// layers are in the order of docs/architecture.md: a package belongs to the
// first tree that holds it.
func layers() []layer {
	wire := []string{"runtime/infer"}
	everything := []string{""}
	return []layer{
		{"internal", nil},
		{"problem", nil},
		{"cmd/deps", nil},
		{"cmd/images", nil},
		{"runtime/infer", nil},
		{"runtime/graph", nil},
		{"runtime/rows", append(wire, "runtime/graph")},
		{"runtime/ort", wire},
		{"runtime/model", wire},
		{"runtime/sign", nil},
		{"runtime/cache", []string{"runtime/model", "runtime/sign"}},
		{"runtime/artifact", append(wire, "runtime/model", "runtime/sign")},
		{"runtime/serve", wire},
		{"runtime/batch", wire},
		{"runtime/bucket", wire},
		{"runtime/pool", append(wire, "runtime/serve", "runtime/model", "runtime/batch")},
		{"eventing", nil},
		{"runtime/function", []string{"runtime", "eventing"}},
		{"functions", []string{"runtime"}},
		{"publish", append(wire, "runtime/model", "runtime/sign", "runtime/artifact", "runtime/ort", "runtime/rows", "runtime/batch", "runtime/graph")},
		{"gateway/standalone", everything},
		{"gateway", append(wire, "runtime/model")},
		{"local", append(wire, "gateway", "runtime/artifact", "runtime/model", "runtime/sign")},
		{"cmd/gateway", []string{"gateway/standalone"}},
		{"cmd/modelserve", everything},
		{"docs", nil},
		{"test", everything},
	}
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		at := slices.IndexFunc(layers(), func(l layer) bool { return under(p.path(), l.tree) })
		if at < 0 {
			t.Errorf("%s is in no layer: add it to the map", p.path())
			continue
		}
		l := layers()[at]
		for _, imported := range p.Imports {
			own, ok := strings.CutPrefix(imported, module)
			if !ok || under(own, "internal") || under(own, "problem") || under(own, l.tree) {
				continue
			}
			if !slices.ContainsFunc(l.may, func(tree string) bool { return under(own, tree) }) {
				t.Errorf("%s imports %s, which %s may not", p.path(), own, l.tree)
			}
		}
	}
}

func under(path, tree string) bool {
	return tree == "" || path == tree || strings.HasPrefix(path, tree+"/")
}

func TestOnlyOrtUsesC(t *testing.T) {
	t.Parallel()
	found := false
	for _, p := range packages(t) {
		binds := len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "github.com/yalue/onnxruntime_go")
		if under(p.path(), "runtime/ort") {
			found = found || binds
		} else if binds {
			t.Errorf("%s uses C: only runtime/ort may", p.path())
		}
	}
	if !found {
		t.Error("runtime/ort uses no C: this test looks for the wrong thing")
	}
}

// TestOnlyTheAdapterKnowsTheCluster keeps the API server's client in one
// package of the gateway, whose cores know neither Kubernetes nor Knative.
func TestOnlyTheAdapterKnowsTheCluster(t *testing.T) {
	t.Parallel()
	found := false
	for _, p := range packages(t) {
		if !under(p.path(), "gateway") && !under(p.path(), "runtime") && !under(p.path(), "internal") {
			continue
		}
		adapter := under(p.path(), "gateway/knative")
		for _, imported := range p.Imports {
			cluster := under(imported, "k8s.io") || under(imported, "knative.dev")
			if cluster && !adapter {
				t.Errorf("%s imports %s: only gateway/knative may", p.path(), imported)
			}
			found = found || adapter && imported == "k8s.io/client-go/dynamic"
		}
	}
	if !found {
		t.Error("gateway/knative uses no client: this test looks for the wrong thing")
	}
}

// TestBinariesLinkOnlyTheirOwn keeps what is heavy or dangerous out of the
// binaries that have no use for it.
func TestBinariesLinkOnlyTheirOwn(t *testing.T) {
	t.Parallel()
	never := []layer{
		// Of client-go the gateway has what a watch needs, not the generated clients.
		{"cmd/gateway", []string{
			"github.com/yalue/onnxruntime_go", module + "runtime/ort",
			"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "knative.dev/serving/pkg/client",
		}},
		{"functions", []string{"github.com/jackc/pgx", "github.com/redis/go-redis", "k8s.io", "knative.dev", "modernc.org/sqlite", module + "gateway"}},
		{"cmd/deps", []string{"github.com/aws", "k8s.io", "github.com/yalue"}},
	}
	for _, rule := range never {
		mains := 0
		for _, p := range packages(t) {
			if p.Name != "main" || !under(p.path(), rule.tree) {
				continue
			}
			mains++
			for _, dep := range p.Deps {
				if slices.ContainsFunc(rule.may, func(tree string) bool { return under(dep, tree) }) {
					t.Errorf("%s links %s", p.path(), dep)
				}
			}
		}
		if mains == 0 {
			t.Errorf("no main under %s: the rule holds of nothing", rule.tree)
		}
	}
}
