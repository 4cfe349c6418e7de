package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
	"github.com/modelserveai/modelserve/runtime/sign"
)

const scaleCurl = `curl -fsS -H @.modelserve/key.header -H 'Content-Type: application/json' ` +
	`-d '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[0,0,0]}]}' http://localhost:8080/v2/models/churn/infer`

func TestModels(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.model("b.onnx", onnxtest.Scale(3, 4))

	s.wants("No model is published yet. `modelserve models push NAME FILE.onnx` publishes one.\n", "models", "list")
	s.wants(`published churn@1
  digest  sha256:…
  URL     http://localhost:8080/v2/models/churn/infer
  speed   …

`+scaleCurl+"\n", "models", "push", "churn", "a.onnx")
	s.wants(`churn@1 is published already, with these bytes: nothing to do
  digest  sha256:…
  URL     http://localhost:8080/v2/models/churn/infer

`+scaleCurl+"\n", "models", "push", "churn", "a.onnx")
	s.fails(exitFailed, "leave --version out", "models", "push", "churn", "b.onnx", "--version", "1")
	s.must("models", "push", "churn", "b.onnx")
	s.must("models", "push", "other", "b.onnx", "--version", "7")

	s.wants(`NAME   NEWEST  VERSIONS  ALIASES  SIZE   DIGEST
churn  2       2         -        110 B  sha256:…
other  7       1         -        110 B  sha256:…
`, "models", "list")
	// The optimised copy's size differs by machine, and with it the column's.
	shownText := regexp.MustCompile(`  +`).ReplaceAllString(s.steady(s.must("models", "show", "churn")), "  ")
	if diff := cmp.Diff(`churn@2
  digest  sha256:…
  batches  along axis 0
  memory  …

  NAME  TYPE  SHAPE
input  x  FP32  [?,3]  such as [1,3]
output  y  FP32  [?,3]

ROWS  ALONE  BUSY  ROWS/S  GAIN

FILE  SIZE  SHA256
model.onnx  110 B  …
model.ort …

`+scaleCurl+"\n", shownText); diff != "" {
		t.Errorf("models show (-want +got):\n%s", diff)
	}

	var shown struct {
		Name     string `json:"name"`
		Versions []int  `json:"versions"`
		Inputs   []any  `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(s.must("models", "show", "churn@1", "-o", "json")), &shown); err != nil || shown.Name != "churn" || len(shown.Versions) != 2 || len(shown.Inputs) != 1 {
		t.Errorf("as JSON: %+v, %v", shown, err)
	}
	if out := s.must("models", "verify", "churn@1"); !strings.Contains(out, "2 files") || !strings.Contains(out, "signature good") {
		t.Errorf("verify: %s", out)
	}
	if out := s.must("models", "show", "churn@1"); !strings.HasSuffix(out, " http://localhost:8080/v2/models/churn/versions/1/infer\n") {
		t.Errorf("an older version is called by:\n%s", out)
	}
	if out := s.must("models", "push", "churn", "a.onnx", "--version", "1"); !strings.Contains(out, "the newest is churn@2") || !strings.HasSuffix(out, "/churn/versions/1/infer\n") {
		t.Errorf("an older version again: %s", out)
	}
	s.fails(exitFailed, "`modelserve models list` shows what is", "models", "verify", "churn@9")
	s.deletes()
}

func TestPushNotesServicesThatServeAnotherVersion(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		functions string
		deployed  bool
		want      string // "" is no note
	}{
		"deployed":              {`{"name":"churn","models":["churn@1"]}`, true, "the service churn still serves churn@1, and calls to churn@2 reach the shared pool: `modelserve deploy churn@2` moves it"},
		"shipped":               {`{"name":"churn","models":["churn@1"]}`, false, "its manifest, in config/ or a service.yaml, names the version"},
		"of another name":       {`{"name":"risk","models":["churn@1","other@2"]}`, false, "the service risk still serves churn@1,"},
		"at this version":       {`{"name":"churn","models":["churn@2"]}`, true, ""},
		"of other models":       {`{"name":"churn2","models":["churn2@1"]},{"name":"pool","models":[]}`, false, ""},
		"none that may be seen": {"", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
				"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
					_, _ = fmt.Fprintf(w, `{"functions":[%s]}`, tc.functions)
				},
			})
			s := newShell(t).withPlatform()
			s.model("a.onnx", onnxtest.Scale(3, 2))
			s.model("b.onnx", onnxtest.Scale(3, 4))
			s.must("models", "push", "churn", "a.onnx")
			if tc.deployed {
				s.must("deploy", "churn")
			}
			s.vars = map[string]string{"MODELSERVE_SERVER": server.URL, "MODELSERVE_KEY": "ms_test_key"}
			state := fmt.Sprintf(`{"server": %q, "pid": %d}`, server.URL, os.Getpid()) // it is the one that runs here
			if err := os.WriteFile(filepath.Join(s.dir, stateDir, platformFile), []byte(state), 0o600); err != nil {
				t.Fatal(err)
			}
			out := s.must("models", "push", "churn", "b.onnx")
			if !strings.Contains(out, tc.want) || tc.want == "" && strings.Contains(out, "note") {
				t.Errorf("push says\n%s\nwant %q", out, tc.want)
			}
		})
	}
}

// TestASecondVersionAnswersAtOnce holds that a push of a version that takes over
// from another ends when the platform has it loaded.
func TestASecondVersionAnswersAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		functions string
		fails     bool
		loads     int
		want      string // "" is no note
	}{
		"the pool is up":       {`{"name":"pool","pool":true,"state":"ready","models":[]}`, false, 1, ""},
		"nobody knows":         {`{"name":"pool","pool":true,"models":[]}`, false, 1, ""},
		"the pool is at zero":  {`{"name":"pool","pool":true,"state":"idle","models":[]}`, false, 0, ""},
		"a function that pins": {`{"name":"own","state":"ready","models":["churn@2"]},{"name":"pool","pool":true,"state":"idle","models":[]}`, false, 1, ""},
		"it does not load":     {`{"name":"pool","pool":true,"state":"ready","models":[]}`, true, 1, "an older version answers calls without a version until this one is loaded: out of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var loads atomic.Int64
			server := fakePlatform(t, map[string]func(http.ResponseWriter, *http.Request){
				"GET /v1/functions": func(w http.ResponseWriter, _ *http.Request) {
					_, _ = fmt.Fprintf(w, `{"functions":[%s]}`, tc.functions)
				},
				"POST /v2/repository/models/churn/load": func(w http.ResponseWriter, _ *http.Request) {
					loads.Add(1)
					if tc.fails {
						problem.WriteV2(w, problem.New(problem.ModelUnavailable, "out of memory"))
					}
				},
			})
			s := newShell(t).withPlatform()
			s.model("a.onnx", onnxtest.Scale(3, 2))
			s.model("b.onnx", onnxtest.Scale(3, 4))
			s.write(stateDir+"/"+platformFile, fmt.Sprintf(`{"server": %q}`, server.URL))
			s.vars[keyVariable] = "ms_test_key"
			s.must("models", "push", "churn", "a.onnx")
			if loads.Load() != 0 {
				t.Error("the first version was loaded: nothing stands in for it")
			}
			out := s.must("models", "push", "churn", "b.onnx")
			if int(loads.Load()) != tc.loads || !strings.Contains(out, tc.want) || tc.want == "" && strings.Contains(out, "note") {
				t.Errorf("%d loads, says\n%s", loads.Load(), out)
			}
		})
	}
}

// TestKeyInTheLine holds that the line that is printed works as it stands, or
// names what is missing.
func TestKeyInTheLine(t *testing.T) {
	t.Parallel()
	const comment = "# with your key in MODELSERVE_KEY:\nprintf "
	for name, tc := range map[string]struct {
		set, flag string
		commented bool
	}{
		"the platform's own":    {"", "", false},
		"in the environment":    {"ms_a_b", "", false},
		"by the flag":           {"", "ms_a_b", true},
		"by both":               {"ms_a_b", "ms_a_b", false},
		"by both, not the same": {"ms_a_b", "ms_c_d", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withPlatform()
			s.vars["MODELSERVE_KEY"] = tc.set
			s.model("a.onnx", onnxtest.Scale(3, 2))
			out := s.must("models", "push", "churn", "a.onnx", "--key", tc.flag)
			if strings.Contains(out, comment) != tc.commented || strings.Contains(out, "ms_") {
				t.Errorf("push says\n%s", out)
			}
		})
	}
}

func (s *shell) deletes() {
	s.t.Helper()
	s.fails(exitUsage, "confirm with --yes", "models", "delete", "churn@1")
	s.terminal, s.in = true, "n\n"
	s.fails(exitFailed, "nothing was deleted", "models", "delete", "churn@1")
	s.in = ""
	s.fails(exitFailed, "no answer", "models", "delete", "churn@1")
	s.in = "y\n"
	s.wants("deleted churn@1\n", "models", "delete", "churn@1")
	s.terminal = false
	s.wants("deleted churn@2\n", "models", "delete", "churn", "--yes")
	s.fails(exitFailed, `model "churn" is not published`, "models", "delete", "churn", "--yes")
	s.wants(`{
  "models": [
    {
      "name": "other",
      "version": 7,
      "versions": [
        7
      ],
      "size": 110,
      "digest": "sha256:…"
    }
  ]
}
`, "models", "list", "-o", "json")
}

func TestPushRefuses(t *testing.T) {
	t.Parallel()
	files := func(s *shell) *shell {
		s.model("good.onnx", onnxtest.Scale(3, 2))
		s.model("sequence.onnx", onnxtest.Sequence())
		s.model("outside.onnx", onnxtest.External(2, "../../secret"))
		s.model("apart.onnx", onnxtest.External(2, "weights.bin"))
		if err := os.WriteFile(filepath.Join(s.dir, "notes.txt"), []byte("no model"), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return s
	}
	for name, tc := range map[string]struct {
		code int
		want string
		args []string
	}{
		"a path in the name":  {exitUsage, "expected 1 to 63", []string{"../../x", "good.onnx"}},
		"a word of a URL":     {exitUsage, "/v2/models/stats", []string{"stats", "good.onnx"}},
		"no file":             {exitUsage, "usage: modelserve models push NAME FILE.onnx", []string{"x"}},
		"a file not there":    {exitFailed, "there is no file", []string{"x", "gone.onnx"}},
		"not a model":         {exitFailed, "is not an ONNX model: it is of another format, or was cut short", []string{"x", "notes.txt"}},
		"no tensors":          {exitFailed, "only tensors can be served", []string{"x", "sequence.onnx"}},
		"data outside":        {exitFailed, "without a folder", []string{"x", "outside.onnx"}},
		"data missing":        {exitFailed, "weights.bin is missing", []string{"x", "apart.onnx"}},
		"version 0":           {exitUsage, "--version: expected a positive integer", []string{"x", "good.onnx", "--version", "0"}},
		"version 01":          {exitUsage, "--version: expected a positive integer", []string{"x", "good.onnx", "--version", "01"}},
		"a shape of no input": {exitFailed, `no input "z"`, []string{"x", "good.onnx", "--shape", "z=1,3"}},
		"a shape of words":    {exitUsage, "--shape: expected positive sizes", []string{"x", "good.onnx", "--shape", "x=1,three"}},
		"a shape twice":       {exitUsage, "named twice", []string{"x", "good.onnx", "--shape", "x=1,3", "--shape", "x=2,3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := files(newShell(t).withPlatform())
			s.fails(tc.code, tc.want, append([]string{"models", "push"}, tc.args...)...)
			s.wants("No model is published yet. `modelserve models push NAME FILE.onnx` publishes one.\n", "models", "list")
		})
	}
}

func TestVerifyFindsWhatWasAltered(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.must("models", "push", "churn", "a.onnx")

	// Someone else's key signs nothing of ours.
	other := t.TempDir()
	if _, err := sign.CreateKeys(filepath.Join(other, "k"), filepath.Join(other, "p")); err != nil {
		t.Fatal(err)
	}
	s.vars["MODELSERVE_PUBLIC_KEY_FILE"] = filepath.Join(other, "p")
	s.fails(exitFailed, "signature wrong", "models", "verify", "churn")
	delete(s.vars, "MODELSERVE_PUBLIC_KEY_FILE")

	altered := 0
	err := filepath.WalkDir(filepath.Join(s.dir, stateDir, "s3"), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // a folder
		}
		if at := bytes.Index(data, onnxtest.Scale(3, 2).Marshal()); at >= 0 {
			altered++
			data[at+50] ^= 1
			return os.WriteFile(path, data, 0o600)
		}
		return nil
	})
	if err != nil || altered != 1 {
		t.Fatalf("%d objects altered: %v", altered, err)
	}
	s.fails(exitFailed, "churn@1: model.onnx: ", "models", "verify", "churn")
}

// TestPushNeverTakesADeletedNumber is the newcomer's way to a version whose
// number callers may have pinned.
func TestPushNeverTakesADeletedNumber(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.model("b.onnx", onnxtest.Scale(3, 4))
	s.must("models", "push", "re", "a.onnx")
	s.must("models", "push", "re", "b.onnx")
	s.must("models", "delete", "re@2", "--yes")
	s.fails(exitFailed, "version 2 of model re was deleted", "models", "push", "re", "b.onnx", "--version", "2")
	if out := s.must("models", "push", "re", "b.onnx"); !strings.Contains(out, "published re@3") {
		t.Errorf("after re@2 was deleted:\n%s", out)
	}
	s.must("models", "delete", "re", "--yes")
	if out := s.must("models", "push", "re", "a.onnx"); !strings.Contains(out, "published re@4") {
		t.Errorf("after re was deleted:\n%s", out)
	}
	s.fails(exitUsage, "up to 2147483647", "models", "push", "re", "b.onnx", "--version", "9223372036854775807")
}

func TestWhereModelsAre(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.fails(exitFailed, "start a platform with `make run`", "models", "list")

	s.vars["MODELSERVE_SERVER"] = "https://models.example.org"
	s.withPlatform()
	s.fails(exitFailed, "the models of https://models.example.org are in its S3", "models", "list")

	s.vars["MODELSERVE_S3_ENDPOINT"] = "http://127.0.0.1:1"
	s.fails(exitUsage, "MODELSERVE_S3_BUCKET: is required", "models", "list")

	elsewhere, err := objectstore.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = elsewhere.Close() })
	maps.Copy(s.vars, map[string]string{
		"MODELSERVE_S3_ENDPOINT": elsewhere.Endpoint, "MODELSERVE_S3_BUCKET": objectstore.Bucket, "MODELSERVE_S3_PATH_STYLE": "true",
		"MODELSERVE_S3_ACCESS_KEY_ID": elsewhere.AccessKeyID, "MODELSERVE_S3_SECRET_ACCESS_KEY": elsewhere.SecretAccessKey,
		"MODELSERVE_KEY": "ms_a_b",
	})
	s.model("a.onnx", onnxtest.Scale(3, 2))
	if out := s.must("models", "push", "churn", "a.onnx"); !strings.Contains(out, `printf 'X-API-Key: %s\n' "$MODELSERVE_KEY" | curl -fsS -H @- `) || !strings.Contains(out, "https://models.example.org/v2/models/churn/infer") {
		t.Errorf("push: %s", out)
	}
	clear(s.vars)
	s.wants("No model is published yet. `modelserve models push NAME FILE.onnx` publishes one.\n", "models", "list")

	held, err := local.OpenStore(t.Context(), filepath.Join(s.dir, stateDir))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	s.fails(exitFailed, "try again in a moment", "models", "list")
}

// Only the address of the platform that runs here leads to its store.
// TestAPlatformThatWasKilled holds that the files which one leaves that could not
// clean up hold nobody up, and that S3 is not blamed for it.
func TestAPlatformThatWasKilled(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("a.onnx", onnxtest.Scale(3, 2))
	gone := freeURL(t)
	s.write(stateDir+"/"+platformFile, fmt.Sprintf(`{"server": %q, "pid": %d, "s3": {"endpoint": %q, "bucket": "modelserve"}}`, gone, os.Getpid(), gone))
	s.must("models", "push", "churn", "a.onnx")
	if out := s.must("models", "list"); !strings.Contains(out, "churn") {
		t.Errorf("list:\n%s", out)
	}
}

// TestAPlatformThatEndsMeanwhile is killed after the command began.
func TestAPlatformThatEndsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		_ = server.Listener.Close()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	s.write(stateDir+"/"+platformFile, fmt.Sprintf(`{"server": %q, "pid": %d, "s3": {"endpoint": %q, "bucket": "modelserve", "access_key_id": "a", "secret_access_key": "b"}}`,
		server.URL, os.Getpid(), server.URL))
	s.fails(exitFailed, fmt.Sprintf("the platform at %s (process %d) has ended meanwhile", server.URL, os.Getpid()), "models", "list")
	if r := s.run("models", "list"); strings.Contains(r.err, "S3") {
		t.Errorf("S3 is blamed: %s", r.err)
	}
}

// freeURL is one that nothing listens at.
func freeURL(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	return server.URL
}

// TestDataElsewhere holds that every command finds a platform whose folder is
// named, wherever it is run, and prints what works anywhere.
func TestDataElsewhere(t *testing.T) {
	t.Parallel()
	platform, s := newShell(t).withPlatform(), newShell(t)
	data := filepath.Join(platform.dir, "else where")
	if err := os.Rename(filepath.Join(platform.dir, stateDir), data); err != nil {
		t.Fatal(err)
	}
	s.model("a.onnx", onnxtest.Scale(3, 2))
	s.fails(exitFailed, "name its folder with --data", "models", "list")
	out := s.must("models", "push", "churn", "a.onnx", "--data", data)
	if !strings.Contains(out, "published churn@1") || strings.Contains(out, "not signed") || !strings.Contains(out, "-H @'"+data+"/key.header'") {
		t.Errorf("push:\n%s", out)
	}
	s.vars["MODELSERVE_DATA"] = data
	if out := s.must("models", "list"); !strings.Contains(out, "churn") {
		t.Errorf("list:\n%s", out)
	}
	if out := s.must("deploy", "churn"); !strings.Contains(out, filepath.Join(data, "services", "churn.yaml")) {
		t.Errorf("deploy:\n%s", out)
	}
}

func TestServerOfTheLocalStore(t *testing.T) {
	t.Parallel()
	const refused = "set MODELSERVE_S3_BUCKET and the other MODELSERVE_S3_*"
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		server, own string
		stopped     bool
		local       bool
	}{
		"its own address":       {server: "http://localhost:8081", own: "http://localhost:8081", local: true},
		"with a slash":          {server: "http://localhost:8081/", own: "http://localhost:8081", local: true},
		"the IPv4 loopback":     {server: "http://127.0.0.1:8081", own: "http://localhost:8081", local: true},
		"the IPv6 loopback":     {server: "http://[::1]:8081", own: "http://localhost:8081", local: true},
		"below localhost":       {server: "http://api.localhost:8081", own: "http://127.0.0.1:8081", local: true},
		"the port of http":      {server: "http://localhost", own: "http://localhost:80", local: true},
		"another port":          {server: "http://localhost:9000", own: "http://localhost:8081"},
		"no port":               {server: "http://localhost", own: "http://localhost:8081"},
		"another host":          {server: "http://models.example.org:8081", own: "http://localhost:8081"},
		"a name like localhost": {server: "http://notlocalhost:8081", own: "http://localhost:8081"},
		"stopped":               {server: "http://localhost:8081", own: "http://localhost:8081", stopped: true},
		"stopped, no file":      {server: "http://localhost:8080", stopped: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t).withPlatform()
			opened, err := local.OpenStore(t.Context(), filepath.Join(s.dir, stateDir))
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			state := platform{Server: tc.own, PID: os.Getpid(), S3: platformS3{
				Endpoint: opened.Endpoint, Bucket: objectstore.Bucket, AccessKeyID: opened.AccessKeyID, SecretAccessKey: opened.SecretAccessKey,
			}}
			if tc.stopped {
				state.PID = gone.Process.Pid
			}
			if tc.own != "" {
				text, err := json.Marshal(state)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(s.dir, stateDir, platformFile), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.local {
				s.must("models", "list", "--server", tc.server)
			} else {
				s.fails(exitFailed, refused, "models", "list", "--server", tc.server)
			}
		})
	}
}

// TestTheKeyIsInNoArgument runs the lines that are printed with a curl that shows its
// arguments, what -H @FILE names, and its body.
func TestTheKeyIsInNoArgument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const curl = "#!/bin/sh\nfor a; do case $a in @-) body=-;; @*) header=$(cat \"${a#@}\");; esac; done\n" +
		"[ \"$2\" = -H ] && [ \"$3\" = @- ] && header=$(cat)\necho \"args $*\"; echo \"header $header\"; echo \"body $([ \"$body\" ] && [ \"$3\" != @- ] && cat)\"\n"
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte(curl), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "key.header")
	if err := os.WriteFile(file, []byte("X-API-Key: ms_a_b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]address{"by a file": {keyHeader: file}, "by a variable": {}} {
		for _, piped := range []bool{false, true} {
			body, args, want := "", "-d {} http://x", "body \n"
			if piped {
				body, args, want = "{ printf %s some; } | ", "--data-binary @- http://x", "body some\n"
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", withKey(addr, body, args))
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "MODELSERVE_KEY=ms_a_b"}
			out, err := cmd.CombinedOutput()
			shown, _, _ := strings.Cut(string(out), "\n")
			if err != nil || strings.Contains(shown, "ms_") || !strings.Contains(string(out), "\nheader X-API-Key: ms_a_b\n") || !strings.HasSuffix(string(out), want) {
				t.Errorf("%s, %q: %v\n%s", name, body, err, out)
			}
		}
	}
}

func TestCurlLine(t *testing.T) {
	t.Parallel()
	s := newShell(t).withPlatform()
	s.model("wide.onnx", onnxtest.Scale(1000, 2))
	s.model("words.onnx", onnxtest.Identity(onnxtest.String, "n", 2))
	s.model("none.onnx", onnxtest.Constant(1))
	for name, want := range map[string]string{
		"wide": `{ printf %s '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1000],"parameters":{"binary_data_size":4000}}]}'; head -c 4000 /dev/zero; } | ` +
			`curl -fsS -H @.modelserve/key.header -H 'Content-Type: application/octet-stream' -H 'Inference-Header-Content-Length: 99' --data-binary @- http://localhost:8080/v2/models/wide/infer`,
		"words": `curl -fsS -H @.modelserve/key.header -H 'Content-Type: application/json' -d '{"inputs":[{"name":"x","datatype":"BYTES","shape":[1,2],"data":["",""]}]}' http://localhost:8080/v2/models/words/infer`,
		"none":  `curl -fsS -H @.modelserve/key.header -H 'Content-Type: application/json' -d '{"inputs":[]}' http://localhost:8080/v2/models/none/infer`,
	} {
		out := strings.TrimSpace(s.must("models", "push", name, name+".onnx"))
		if got := out[strings.LastIndex(out, "\n")+1:]; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}
