// Package architecture holds the code to its own map: which package may import
// which, what each binary must never link, and a comment on every package.
//
// docs/architecture.md is the map; a change of a rule here is a change there.
package architecture

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/modelserveai/modelserve/"

// listed is what go list reports of a package.
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
	if err := readAll("../.."); err != nil {
		return nil, err
	}
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

// readAll looks at every Go file: what go list reads, the cache of test results does
// not know of, and what a test looks at itself it does.
func readAll(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") || entry.Name() == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
}

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

// layer is what of our own the packages of a tree may import, each other and
// the leaves aside.
type layer struct {
	tree string
	may  []string // a package, or with "/..." its tree
}

// layers are in the order of docs/architecture.md: a package belongs to the
// first tree that holds it.
func layers() []layer {
	return []layer{
		{"internal", nil},
		{"problem", nil},
		{"cmd/deps", nil},
		{"cmd/images", nil},
		{"runtime/infer", nil},
		{"runtime/graph", nil},
		{"runtime/rows", []string{"runtime/infer", "runtime/graph"}},
		{"runtime/ort", []string{"runtime/infer"}},
		{"runtime/model", []string{"runtime/infer"}},
		{"runtime/sign", nil},
		{"runtime/cache", []string{"runtime/model", "runtime/sign"}},
		{"runtime/artifact", []string{"runtime/infer", "runtime/model", "runtime/sign"}},
		{"runtime/serve", []string{"runtime/infer/...", "eventing/envelope", "eventing/expr", "eventing/ticket"}},
		{"runtime/batch", []string{"runtime/infer"}},
		{"runtime/bucket", []string{"runtime/infer"}},
		{"runtime/pool", []string{"runtime/infer", "runtime/model", "runtime/serve", "runtime/batch"}},
		{"eventing/ticket", []string{"eventing/envelope", "runtime/sign"}},
		{"eventing", nil},
		{"pipelines/contract", nil},
		{"runtime/function", []string{
			"runtime/infer", "runtime/model", "runtime/sign", "runtime/cache", "runtime/artifact", "runtime/rows", "runtime/ort",
			"runtime/serve", "runtime/bucket", "runtime/pool", "eventing/emit", "eventing/ticket",
		}},
		{"codec/codectest", []string{"runtime/infer", "runtime/ort", "runtime/serve"}},
		{"codec", []string{"runtime/infer", "runtime/serve"}},
		{"functions/internal", []string{"codec/...", "runtime/infer", "runtime/serve"}},
		{"functions", []string{"codec/...", "functions/internal/...", "runtime/infer", "runtime/serve", "runtime/function"}},
		{"publish", []string{
			"runtime/infer", "runtime/model", "runtime/sign", "runtime/artifact", "runtime/graph", "runtime/rows", "runtime/ort", "runtime/batch",
		}},
		{"gateway/internal/body", []string{"runtime/infer"}},
		{"gateway/internal/stored", []string{"gateway/access", "gateway/audit", "gateway/auth", "gateway/rights", "gateway/usage"}},
		{"gateway/internal", nil},
		{"gateway/auth/jwt", []string{"gateway/auth", "gateway/internal/detach"}},
		{"gateway/auth", nil},
		{"gateway/route", []string{"runtime/infer", "runtime/model"}},
		{"gateway/catalog", []string{"gateway/internal/...", "runtime/model"}},
		{"gateway/access", []string{"gateway/auth"}},
		{"gateway/audit", nil},
		{"gateway/usage", nil},
		{"gateway/rights", []string{"gateway/access", "gateway/audit", "gateway/auth"}},
		{"gateway/storetest", []string{"gateway/access", "gateway/audit", "gateway/auth", "gateway/rights", "gateway/usage/..."}},
		{"gateway/sqlite", []string{"gateway/access", "gateway/audit", "gateway/auth", "gateway/internal/stored", "gateway/rights", "gateway/usage"}},
		{"gateway/postgres", []string{"gateway/access", "gateway/audit", "gateway/auth", "gateway/internal/stored", "gateway/rights", "gateway/usage"}},
		{"gateway/knative", []string{"gateway/route", "runtime/infer", "runtime/model"}},
		{"gateway/limit/limittest", []string{"gateway/limit"}},
		{"gateway/limit/redislimit", []string{"gateway/limit"}},
		{"gateway/limit", []string{"runtime/infer"}},
		{"gateway/gatewayfile", []string{"gateway/auth/jwt", "gateway/limit"}},
		{"gateway/allowance", []string{"gateway", "gateway/door", "gateway/gatewayfile", "gateway/limit", "gateway/limit/redislimit", "gateway/usage", "runtime/infer"}},
		{"gateway/callers", []string{
			"gateway", "gateway/access", "gateway/audit", "gateway/auth", "gateway/auth/jwt", "gateway/control", "gateway/gatewayfile", "gateway/rights",
		}},
		{"gateway/standalone", []string{
			"gateway", "gateway/allowance", "gateway/auth", "gateway/callers", "gateway/catalog", "gateway/forward", "gateway/knative", "gateway/limit/redislimit", "gateway/postgres", "gateway/route", "gateway/sqlite", "gateway/usage",
			"runtime/artifact", "runtime/sign",
		}},
		{"gateway/call", []string{"gateway/auth", "gateway/route", "runtime/infer", "runtime/model"}},
		{"gateway/resolve", []string{"gateway/auth", "gateway/call", "gateway/route", "runtime/infer", "runtime/model"}},
		{"gateway/forward", []string{"gateway/auth", "gateway/call", "gateway/internal/room", "gateway/route", "runtime/infer"}},
		{"gateway/door", []string{"gateway/auth", "gateway/call", "gateway/forward", "gateway/internal/grpcwire", "gateway/limit", "gateway/resolve", "runtime/infer"}},
		{"gateway/v2", []string{
			"gateway/auth", "gateway/call", "gateway/door", "gateway/forward", "gateway/internal/body", "gateway/internal/grpcwire", "gateway/internal/room", "gateway/resolve", "gateway/route",
			"runtime/infer/...", "runtime/model",
		}},
		{"gateway/pipeline", []string{
			"gateway/audit", "gateway/auth", "gateway/call", "gateway/control/operation", "gateway/forward", "gateway/internal/body", "gateway/route",
			"pipelines/calls", "pipelines/contract", "pipelines/definition", "pipelines/functions", "pipelines/schedule", "runtime/infer",
		}},
		{"gateway/control", []string{
			"gateway/access", "gateway/audit", "gateway/auth", "gateway/call", "gateway/gatewayfile", "gateway/internal/body", "gateway/limit", "gateway/pipeline", "gateway/rights", "gateway/route", "gateway/usage",
			"pipelines/contract", "runtime/infer",
		}},
		{"gateway", []string{
			"gateway/access", "gateway/audit", "gateway/auth", "gateway/call", "gateway/control", "gateway/door", "gateway/forward", "gateway/internal/grpcwire", "gateway/internal/room", "gateway/pipeline", "gateway/resolve", "gateway/rights", "gateway/route", "gateway/usage", "gateway/v2",
			"eventing/envelope", "eventing/ticket", "runtime/infer",
		}},
		{"pipelines/outside", nil},
		{"pipelines/charge", nil},
		{"pipelines/meter", []string{"gateway/limit", "gateway/usage", "pipelines/charge", "runtime/infer"}},
		{"pipelines/calls", []string{"eventing/envelope", "pipelines/definition", "pipelines/execution", "pipelines/record", "pipelines/values", "runtime/infer"}},
		{"pipelines/decide", []string{
			"eventing/envelope", "eventing/expr", "pipelines/calls", "pipelines/definition", "pipelines/execution", "pipelines/plan", "pipelines/record", "pipelines/values",
		}},
		{"pipelines/dispatch", []string{
			"eventing/envelope", "eventing/ticket", "pipelines/charge", "pipelines/decide", "pipelines/execution", "pipelines/outside", "pipelines/record", "pipelines/values",
		}},
		{"pipelines/receive", []string{
			"eventing/envelope", "eventing/ticket", "pipelines/charge", "pipelines/compile", "pipelines/decide", "pipelines/execution", "pipelines/record",
		}},
		{"pipelines/service", []string{
			"eventing/ticket", "pipelines/calls", "pipelines/decide", "pipelines/dispatch", "pipelines/live", "pipelines/outside", "pipelines/planner", "pipelines/receive", "pipelines/record", "pipelines/start", "pipelines/values",
		}},
		{"pipelines/planner", []string{"pipelines/record", "pipelines/schedule", "pipelines/start"}},
		{"pipelines/start", []string{
			"eventing/envelope", "pipelines/contract", "pipelines/decide", "pipelines/definition", "pipelines/execution", "pipelines/record", "pipelines/registry", "pipelines/values",
		}},
		{"pipelines/registry", []string{"pipelines/definition", "pipelines/record"}},
		{"pipelines/api", []string{
			"eventing/envelope", "pipelines/calls", "pipelines/contract", "pipelines/decide", "pipelines/definition", "pipelines/execution", "pipelines/live", "pipelines/record", "pipelines/registry", "pipelines/schedule", "pipelines/start", "pipelines/values",
			"runtime/infer",
		}},
		{"pipelines/live", nil},
		{"pipelines/redisnotice", nil},
		{"pipelines/values", []string{"eventing/envelope"}},
		{"local", []string{
			"gateway", "gateway/allowance", "gateway/auth", "gateway/callers", "gateway/catalog", "gateway/route", "gateway/sqlite",
			"eventing/...", "gateway/pipeline", "pipelines/...",
			"runtime/infer", "runtime/model", "runtime/sign", "runtime/artifact",
		}},
		{"cmd/gateway", []string{"gateway/standalone"}},
		{"cmd/pipelines", []string{"pipelines/standalone"}},
		{"cmd/modelserve/internal/reference", []string{"..."}},
		{"cmd/modelserve", []string{
			"gateway/auth", "gateway/gatewayfile", "gateway/route", "local/...", "publish",
			"eventing/ticket", "pipelines/compile", "pipelines/contract", "pipelines/definition", "pipelines/drawing", "pipelines/plan",
			"runtime/infer", "runtime/model", "runtime/sign", "runtime/cache", "runtime/artifact", "runtime/ort",
		}},
		{"pipelines/definition", []string{"eventing/expr"}},
		{"pipelines/execution", []string{"eventing/envelope", "pipelines/definition", "pipelines/plan"}},
		{"pipelines/record", []string{"pipelines/execution"}},
		{"pipelines/internal/stored", []string{"eventing/envelope", "pipelines/execution", "pipelines/record"}},
		{"pipelines/storetest", []string{"eventing/envelope", "pipelines/execution", "pipelines/record"}},
		{"pipelines/sqlite", []string{"pipelines/execution", "pipelines/internal/stored", "pipelines/record"}},
		{"pipelines/postgres", []string{"pipelines/execution", "pipelines/internal/stored", "pipelines/record"}},
		{"pipelines/functions", []string{
			"functions/content-detect/schema", "functions/speech-detect/schema", "functions/text-detect/schema", "functions/text-orient/schema", "functions/text-recognize/schema",
			"pipelines/definition", "runtime/infer",
		}},
		{"pipelines/plan", []string{"eventing/ticket", "pipelines/definition"}},
		{"pipelines/compile", []string{"eventing/ticket", "pipelines/plan"}},
		{"pipelines/drawing", []string{"pipelines/definition", "pipelines/plan"}},
		{"pipelines/knative", []string{"pipelines/compile"}},
		{"pipelines/standalone", []string{
			"eventing/ticket", "gateway/forward", "gateway/knative", "gateway/limit/redislimit", "gateway/postgres", "gateway/route", "gateway/usage",
			"pipelines/api", "pipelines/compile", "pipelines/definition", "pipelines/dispatch", "pipelines/functions", "pipelines/knative", "pipelines/live", "pipelines/meter", "pipelines/plan", "pipelines/postgres", "pipelines/receive", "pipelines/record", "pipelines/redisnotice", "pipelines/registry", "pipelines/service", "pipelines/shipped",
			"runtime/artifact", "runtime/sign",
		}},
		{"pipelines/schedule", nil},
		{"pipelines/shipped", []string{"pipelines/definition"}},
		{"docs", nil},
		{"test", []string{"..."}},
	}
}

// layerOf is the index of the layer that a package is in; -1 is none.
func layerOf(path string) int {
	return slices.IndexFunc(layers(), func(l layer) bool { return under(path, l.tree) })
}

// matches reports whether a layer's word is of a package.
func matches(pattern, path string) bool {
	if tree, all := strings.CutSuffix(pattern, "..."); all {
		return under(path, strings.TrimSuffix(tree, "/"))
	}
	return path == pattern
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, p := range packages(t) {
		at := layerOf(p.path())
		if at < 0 {
			t.Errorf("%s is in no layer: add it to the map", p.path())
			continue
		}
		l := layers()[at]
		for _, imported := range p.Imports {
			own, ok := strings.CutPrefix(imported, module)
			if !ok || under(own, "internal") || under(own, "problem") || layerOf(own) == at {
				continue
			}
			allowed := slices.IndexFunc(l.may, func(pattern string) bool { return matches(pattern, own) })
			if allowed < 0 {
				t.Errorf("%s imports %s, which %s may not", p.path(), own, l.tree)
				continue
			}
			used[l.tree+" "+l.may[allowed]] = true
		}
	}
	for _, l := range layers() {
		for _, pattern := range l.may {
			if l.tree != "test" && !used[l.tree+" "+pattern] {
				t.Errorf("%s may import %s, and does not: take it out of the map", l.tree, pattern)
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

// TestOnlyTheAdaptersKnowTheCluster keeps the API server's client in one package of
// the gateway and one of pipelines, whose cores know neither Kubernetes nor Knative,
// but for what is compiled into Knative's objects.
func TestOnlyTheAdaptersKnowTheCluster(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, p := range packages(t) {
		held := slices.ContainsFunc([]string{"gateway", "runtime", "internal", "eventing", "pipelines"}, func(tree string) bool { return under(p.path(), tree) })
		if !held {
			continue
		}
		adapter := under(p.path(), "gateway/knative") || under(p.path(), "pipelines/knative")
		for _, imported := range p.Imports {
			cluster := under(imported, "k8s.io") || under(imported, "knative.dev")
			client := under(imported, "k8s.io/client-go")
			if cluster && !adapter && (client || p.path() != "pipelines/compile") {
				t.Errorf("%s imports %s: only gateway/knative, pipelines/knative and pipelines/compile may", p.path(), imported)
			}
			found[p.path()] = found[p.path()] || imported == "k8s.io/client-go/dynamic"
		}
	}
	if !found["gateway/knative"] || !found["pipelines/knative"] {
		t.Error("the adapters use no client: this test looks for the wrong thing")
	}
}

// TestOnlyS3NeedsAWS keeps the client of S3 out of what works without: whoever
// embeds the gateway, or a pool of models, brings a store of their own.
func TestOnlyS3NeedsAWS(t *testing.T) {
	t.Parallel()
	free := map[string]bool{ // what it stands for is seen
		"gateway": false, "gateway/catalog": false, "gateway/route": false,
		"runtime/pool": false, "runtime/cache": false, "runtime/model": false, "runtime/sign": false,
	}
	linked := func(p *listed) []string {
		return slices.DeleteFunc(slices.Clone(p.Deps), func(dep string) bool {
			return !under(dep, "github.com/aws") && dep != module+"runtime/artifact"
		})
	}
	for _, p := range packages(t) {
		found := linked(&p)
		if p.path() == "runtime/artifact" && len(found) == 0 {
			t.Error("runtime/artifact links no client of S3: this test looks for the wrong thing")
		}
		if _, held := free[p.path()]; !held {
			continue
		}
		free[p.path()] = true
		if len(found) > 0 {
			t.Errorf("%s links %s, and %d more of S3", p.path(), found[0], len(found)-1)
		}
	}
	for path, seen := range free {
		if !seen {
			t.Errorf("there is no %s: the rule holds of nothing", path)
		}
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
		{"cmd/pipelines", []string{"github.com/yalue/onnxruntime_go", module + "runtime/ort", "modernc.org/sqlite"}},
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
