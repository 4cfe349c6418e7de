package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// withTwo has churn@1 and churn@2 published.
func (s *shell) withTwo() *shell {
	s.t.Helper()
	s.withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.model("b.onnx", onnxtest.Scale(3, 4))
	s.must("models", "push", "churn", "a.onnx")
	s.must("models", "push", "churn", "b.onnx")
	return s
}

func TestAliases(t *testing.T) {
	t.Parallel()
	s := newShell(t).withTwo()
	s.wants(`ALIAS   VERSION
latest  2        calls without a version
`, "models", "alias", "churn")
	s.wants(`ALIAS   VERSION
latest  2
blue    2
stable  1        calls without a version
`, "models", "alias", "churn", "stable=1", "blue=2")
	s.wants(`{
  "name": "churn",
  "latest": 2,
  "default": 1,
  "aliases": {
    "stable": 1
  },
  "split": [],
  "signed": true
}
`, "models", "alias", "churn", "blue-", "-o", "json")
	s.wants("aliases:\n  stable: 1\ndefault: 1\nlatest: 2\nname: churn\nsigned: false\nsplit: []\n", "models", "alias", "churn", "-o", "yaml")
	if out := s.must("models", "list"); !strings.Contains(out, "  stable=1  ") {
		t.Errorf("list:\n%s", out)
	}
	if out := s.must("models", "show", "churn"); !strings.Contains(out, "\n  aliases  stable=1\n") || !strings.Contains(out, "/churn/versions/2/infer") {
		t.Errorf("show:\n%s", out)
	}
	if out := s.must("models", "show", "churn@1"); !strings.HasSuffix(out, "/models/churn/infer\n") {
		t.Errorf("a call without a version reaches 1:\n%s", out)
	}
	if out := s.must("models", "push", "churn", "b.onnx"); !strings.Contains(out, "reach churn@1, which is stable: `modelserve models alias churn stable=2` moves them") {
		t.Errorf("push:\n%s", out)
	}
	s.fails(exitFailed, "`modelserve models alias churn`", "models", "delete", "churn@1", "--yes")
	s.must("models", "delete", "churn", "--yes") // and with all of it goes the policy
	s.must("models", "push", "churn", "a.onnx")
	s.wants("{\n  \"name\": \"churn\",\n  \"latest\": 3,\n  \"default\": 3,\n  \"aliases\": {},\n  \"split\": [],\n  \"signed\": false\n}\n", "models", "alias", "churn", "-o", "json")
}

func TestSplit(t *testing.T) {
	t.Parallel()
	s := newShell(t).withTwo()
	s.wants("churn has no split: calls without a version reach churn@2\n", "models", "split", "churn")
	const split = `VERSION  WEIGHT  SHARE
1        90      90.0%
2        10      10.0%
`
	s.wants(split, "models", "split", "churn", "1=90", "2=10")
	s.wants(split, "models", "split", "churn")
	s.wants(`ALIAS   VERSION
latest  2
calls without a version are split: 1=90 2=10
`, "models", "alias", "churn")
	if out := s.must("models", "list"); !strings.Contains(out, "  split 1=90 2=10  ") {
		t.Errorf("list:\n%s", out)
	}
	var listed struct {
		Models []struct {
			Split []struct {
				Version, Weight int
			}
		}
	}
	if err := json.Unmarshal([]byte(s.must("models", "list", "-o", "json")), &listed); err != nil || len(listed.Models) != 1 || len(listed.Models[0].Split) != 2 || listed.Models[0].Split[0].Weight != 90 {
		t.Errorf("%+v, %v", listed, err)
	}
	if out := s.must("models", "show", "churn@2"); !strings.Contains(out, "\n  split    1=90 2=10\n") || !strings.Contains(out, "/churn/versions/2/infer") {
		t.Errorf("show:\n%s", out)
	}
	if out := s.must("models", "push", "churn", "b.onnx"); !strings.Contains(out, "calls without a version are split (1=90 2=10)") {
		t.Errorf("push:\n%s", out)
	}
	s.fails(exitFailed, "the split", "models", "delete", "churn@2", "--yes")
	s.wants("churn has no split: calls without a version reach churn@2\n", "models", "split", "churn", "--clear")
	s.must("models", "delete", "churn@1", "--yes")
}

// TestSplitOfOneSignature holds that calls are shared only between versions
// that take and give the same.
func TestSplitOfOneSignature(t *testing.T) {
	t.Parallel()
	s := newShell(t).withTwo()
	s.model("wider.onnx", onnxtest.Scale(4, 2))
	s.must("models", "push", "churn", "wider.onnx")
	s.fails(exitFailed, `versions 1 and 3 differ in what they take or give, so that callers would be answered in turns: the input "x" is of shape [-1 3] in one and [-1 4] in the other`,
		"models", "split", "churn", "1=90", "3=10")
	s.wants("churn has no split: calls without a version reach churn@3\n", "models", "split", "churn")
	s.must("models", "split", "churn", "1=90", "2=10")
}

func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	s := newShell(t).withTwo()
	for _, tc := range map[string]struct {
		code int
		want string
		args []string
	}{
		"no name":              {exitUsage, "usage: modelserve models alias NAME", []string{"alias"}},
		"a bad name":           {exitUsage, "expected 1 to 63", []string{"alias", "../x"}},
		"no such model":        {exitFailed, "`modelserve models list` shows what is", []string{"alias", "other", "stable=1"}},
		"no such version":      {exitFailed, "version 9 is not published; the newest version is 2", []string{"alias", "churn", "stable=9"}},
		"no such alias":        {exitFailed, `has no alias "blue" to take away`, []string{"alias", "churn", "blue-"}},
		"latest":               {exitUsage, "always the newest version", []string{"alias", "churn", "latest=1"}},
		"a number":             {exitUsage, "that is no number", []string{"alias", "churn", "1=1"}},
		"a capital":            {exitUsage, "expected a name of a-z", []string{"alias", "churn", "Stable=1"}},
		"a version of letters": {exitUsage, "expected ALIAS=VERSION with a positive integer", []string{"alias", "churn", "stable=blue"}},
		"neither set nor gone": {exitUsage, "or ALIAS- to take it away", []string{"alias", "churn", "stable"}},
		"an alias twice":       {exitUsage, "stable is named twice", []string{"alias", "churn", "stable=1", "stable-"}},
		"a weight of 0":        {exitUsage, "weight from 1 to 1000", []string{"split", "churn", "1=0"}},
		"no weight":            {exitUsage, "weight from 1 to 1000", []string{"split", "churn", "1"}},
		"a version twice":      {exitUsage, "version 1 is named twice", []string{"split", "churn", "1=1", "1=2"}},
		"clear and set":        {exitUsage, "no weights beside it", []string{"split", "churn", "1=1", "--clear"}},
		"a share of none":      {exitFailed, "version 9 is not published", []string{"split", "churn", "9=1"}},
	} {
		s.fails(tc.code, tc.want, append([]string{"models"}, tc.args...)...) // one at a time: each opens the store
	}
	s.wants("ALIAS   VERSION\nlatest  2        calls without a version\n", "models", "alias", "churn")
}

// TestPolicyOfAnotherKey holds that nobody signs what another wrote unseen.
func TestPolicyOfAnotherKey(t *testing.T) {
	t.Parallel()
	s := newShell(t).withTwo()
	key := filepath.Join(s.dir, stateDir, "signing.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	r := s.run("models", "alias", "churn", "stable=1")
	if r.code != exitOK || !strings.Contains(r.err, "note: not signed") {
		t.Errorf("without a key: %+v", r)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailed, "`modelserve models alias churn --reset` begins anew", "models", "alias", "churn", "blue=1")
	s.fails(exitFailed, "unsigned", "models", "split", "churn")
	if out := s.must("models", "list"); !strings.Contains(out, "not followed") {
		t.Errorf("list:\n%s", out)
	}
	if r := s.run("models", "show", "churn"); r.code != exitOK || !strings.Contains(r.err, "note: its policy is not followed") {
		t.Errorf("show: %+v", r)
	}
	s.wants("ALIAS   VERSION\nlatest  2\nstable  1        calls without a version\n", "models", "alias", "churn", "--reset", "stable=1")
	if out := s.must("models", "list"); !strings.Contains(out, "  stable=1  ") {
		t.Errorf("list:\n%s", out)
	}
}

// TestAnUnevenSplitIsNoted: versions may share calls though one of them takes
// fewer shapes, and who shares them knows.
func TestAnUnevenSplitIsNoted(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("any.onnx", onnxtest.Identity(onnxtest.Float, "n", 4))
	s.model("one.onnx", onnxtest.Identity(onnxtest.Float, 1, 4))
	s.model("same.onnx", onnxtest.Scale(4, 2))
	for _, file := range []string{"any.onnx", "one.onnx", "same.onnx"} {
		s.must("models", "push", "churn", file)
	}
	for _, tc := range []struct {
		name   string
		shares []string
		want   string
	}{
		{"one that takes less", []string{"1=1", "2=1"}, `note: the input "x" is of shape [?,4] in churn@1 and [1,4] in churn@2: a request that only one of them takes is refused in turns`},
		{"one that takes more", []string{"2=1", "3=1"}, `[1,4] in churn@2 and [?,4] in churn@3`},
		{"the same", []string{"1=1", "3=1"}, ""},
		{"none", []string{"--clear"}, ""},
	} {
		r := s.run(append([]string{"models", "split", "churn"}, tc.shares...)...)
		if r.code != exitOK || !strings.Contains(r.err, tc.want) || tc.want == "" && r.err != "" {
			t.Errorf("%s: exit %d, says\n%s", tc.name, r.code, r.err)
		}
	}
}
