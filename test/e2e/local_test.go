package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
	"github.com/modelserveai/modelserve/test/platformtest"
)

// TestLocalPlatform starts the platform once and uses it in every way.
func TestLocalPlatform(t *testing.T) {
	cli := platformtest.BuildCLI(t)
	dir := t.TempDir()
	p := start(t, cli, dir)
	t.Run("use", func(t *testing.T) {
		for name, use := range map[string]func(*testing.T, *platform){
			"printed commands work":   printedCommands,
			"functions answer":        functionsAnswer,
			"functions answer V2 too": functionsAnswerV2,
			"functions answer events": functionsAnswerEvents,
			"a pushed model answers":  pushedModelAnswers,
			"a model refused":         modelsRefused,
			"the example answers":     exampleAnswers,
			"the example pipelines":   examplePipelines,
			"answers later":           answersLater,
			"metrics":                 metricsAreThoseOfTheReference,
			"log lines":               linesAreThoseOfThePage,
			"the example function":    exampleFunction,
			"the Triton client":       tritonClient,
			"keys":                    keys,
			"hostile input":           hostileInput,
			"slow and broken clients": slowClients,
			"documents are read":      documentsAreRead,
			"files are triaged":       filesAreTriaged,
			"what is no image":        whatIsNoImageIsADeadLetter,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				use(t, p)
			})
		}
	})
	t.Run("the largest", func(t *testing.T) { functionsAtTheirLargest(t, p) })
	t.Run("back to zero", func(t *testing.T) { backToZero(t, p) })
	t.Run("a second one reports that the port is taken", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), cli, "dev", "--address", p.Address, "--data", filepath.Join(t.TempDir(), ".modelserve"), "--plain").CombinedOutput()
		if want := p.Address + " is taken by another program; stop it, or give this platform another port with --address"; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %q in:\n%s", err, want, out)
		}
	})
	t.Run("stop, start again, and what was published is there", func(t *testing.T) {
		p.Stop(t)
		again := start(t, cli, dir)
		if again.Key != p.Key {
			t.Error("the key has changed")
		}
		res := again.must(t, request{path: "/v2/models/echo-fp32"})
		if res.status != http.StatusOK {
			t.Errorf("%d: %s", res.status, res.body)
		}
		t.Run("pipelines outlive a kill", func(t *testing.T) {
			pipelinesOutliveAKill(t, again, func() *platform { return start(t, cli, dir) })
		})
	})
}

// printedCommands pastes what a platform prints whose data is elsewhere, as it is
// printed, into a folder that has nothing to do with it.
func printedCommands(t *testing.T, p *platform) {
	lines := regexp.MustCompile(`(?m)^  (curl .*|\S*/modelserve .*)$`).FindAllStringSubmatch(p.Output.String(), -1)
	if len(lines) != 3 {
		t.Fatalf("%d commands printed, want three:\n%s", len(lines), p.Output.String())
	}
	for _, line := range lines {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line[1])
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line[1], err, out)
		}
	}
}

// nativeCall is a call of a function's own payload, and what its answer matches.
type nativeCall struct{ function, contentType, file, want string }

func nativeCalls(t *testing.T) []nativeCall {
	t.Helper()
	return []nativeCall{
		{"text-detect", "image/png", "functions/text-detect/testdata/page.png", `"boxes":\[\{"polygon"`},
		{"content-detect", "application/octet-stream", "go.mod", `"label":"\w+"`},
		{"speech-detect", "audio/wav", speechFile(t), `"segments":\[\{"start"`},
		{"text-recognize", "image/png", lineFile(t), `"lines":\[\{"text":"[^"]+"`},
		{"text-orient", "image/png", lineFile(t), `"orientation":(0|180)`},
	}
}

func functionsAnswer(t *testing.T, p *platform) {
	for _, tc := range nativeCalls(t) {
		t.Run(tc.function, func(t *testing.T) {
			t.Parallel()
			res := p.must(t, request{host: p.Host(tc.function), path: "/", body: testdata(t, tc.file), header: map[string]string{"Content-Type": tc.contentType}})
			if res.status != http.StatusOK || !regexp.MustCompile(tc.want).Match(res.body) {
				t.Fatalf("%d %s, want it to match %s", res.status, res.body, tc.want)
			}
			for header, want := range map[string]string{
				"Modelserve-Model":  `^` + tc.function + `@1;digest=sha256:[0-9a-f]{64}$`,
				"Modelserve-Device": `^cpu$`,
				"Server-Timing":     `infer;dur=`,
				"X-Request-Id":      `.`,
				"Traceparent":       `^00-[0-9a-f]{32}-`,
				"Content-Type":      `^application/json`,
			} {
				if got := res.header.Get(header); !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("header %s is %q, want it to match %s", header, got, want)
				}
			}
		})
	}
}

// first is the first file that matches, below the repository's root.
func first(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(platformtest.Root(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			path, err := filepath.Rel(platformtest.Root(t), found[0])
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Fatalf("no file matches %v", patterns)
	return ""
}

func speechFile(t *testing.T) string {
	t.Helper()
	return first(t, "functions/speech-detect/testdata/speech*.wav", "functions/speech-detect/testdata/*.wav")
}

func lineFile(t *testing.T) string {
	t.Helper()
	return first(t, "functions/text-recognize/testdata/line*.png", "functions/text-recognize/testdata/*.png")
}

func functionsAnswerV2(t *testing.T, p *platform) {
	input := infer.NewTensor("x", []int64{1, 3, 48, 192}, make([]float32, 3*48*192))
	for name, target := range map[string]request{
		"by path":         {path: "/v2/models/text-orient/infer"},
		"by its version":  {path: "/v2/models/text-orient/versions/1/infer"},
		"by its own host": {host: p.Host("text-orient"), path: "/v2/models/text-orient/infer"},
	} {
		t.Run(name, func(t *testing.T) {
			encoded, err := infer.EncodeRequest(&infer.Request{ID: "7", Inputs: []infer.Tensor{input}, BinaryOutput: true}, func(*infer.Tensor) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			r := target
			r.body = encoded.Bytes()
			r.header = map[string]string{"Content-Type": encoded.ContentType(), "Inference-Header-Content-Length": fmt.Sprint(encoded.HeaderLength())}
			res := p.must(t, r)
			if res.status != http.StatusOK || !bytes.Contains(res.body, []byte(`"id":"7"`)) {
				t.Errorf("%d %.300s", res.status, res.body)
			}
		})
	}
	if res := p.must(t, request{host: p.Host("text-orient"), path: "/v2/models/text-detect"}); res.status == http.StatusOK {
		t.Errorf("text-orient's host described another model: %s", res.body)
	}
}

func functionsAnswerEvents(t *testing.T, p *platform) {
	attributes := map[string]string{
		"specversion": "1.0", "id": "e1", "source": "/uploads", "type": "dev.modelserve.document.uploaded.v1",
		"caseid": "x-1", "datacontenttype": "application/octet-stream",
	}
	t.Run("binary", func(t *testing.T) {
		header := map[string]string{"Content-Type": "application/octet-stream"}
		for k, v := range attributes {
			if k != "datacontenttype" {
				header["ce-"+k] = v
			}
		}
		res := p.must(t, request{host: p.Host("content-detect"), path: "/", body: []byte("package main\n\nfunc main() { println(1) }\n"), header: header})
		if res.status != http.StatusOK || res.header.Get("Ce-Type") != "dev.modelserve.content-detect.answered.v1" || res.header.Get("Ce-Caseid") != "x-1" {
			t.Errorf("%d %v %s", res.status, res.header, res.body)
		}
	})
	t.Run("structured", func(t *testing.T) {
		event := map[string]any{"data_base64": "cGFja2FnZSBtYWluCgpmdW5jIG1haW4oKSB7fQo="}
		for k, v := range attributes {
			event[k] = v
		}
		body, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		res := p.must(t, request{host: p.Host("content-detect"), path: "/", body: body, header: map[string]string{"Content-Type": "application/cloudevents+json"}})
		var got map[string]any
		if err := json.Unmarshal(res.body, &got); err != nil || res.status != http.StatusOK ||
			got["type"] != "dev.modelserve.content-detect.answered.v1" || got["caseid"] != "x-1" || got["data"] == nil {
			t.Errorf("%d %v %s", res.status, err, res.body)
		}
	})
}

// echo is a model x -> y that answers what it is asked.
func echo(d infer.DataType, shape ...any) []byte {
	return onnxtest.Identity(onnxtest.ElementOf(d), shape...).Marshal()
}

// save writes a model file and returns its path.
func save(t *testing.T, name string, model []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, model, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pushedModelAnswers(t *testing.T, p *platform) {
	path := save(t, "pushed.onnx", echo(infer.FP32, "n", 4))
	out, err := p.Run(t, "models", "push", "pushed", path)
	if err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	curl := regexp.MustCompile(`(?ms)^\s*((?:printf [^|]*[|] )?curl .*?[^\\])$`).FindStringSubmatch(out)
	if curl == nil {
		t.Fatalf("no curl line in:\n%s", out)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", curl[1])
	cmd.Dir = p.Dir
	answer, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(answer, []byte(`"outputs":[{`)) {
		t.Errorf("the printed line as pasted: %v\n%s\n%s", err, curl[1], answer)
	}
	again, err := p.Run(t, "models", "push", "pushed", path)
	if err != nil {
		t.Errorf("the same bytes again: %v\n%s", err, again)
	}
	if listed, err := p.Run(t, "models", "list", "--output", "json"); err != nil || strings.Count(listed, `"pushed"`) != 1 {
		t.Errorf("list: %v\n%s", err, listed)
	}
	if verified, err := p.Run(t, "models", "verify", "pushed"); err != nil {
		t.Errorf("verify: %v\n%s", err, verified)
	}
}

func modelsRefused(t *testing.T, p *platform) {
	good := save(t, "a.onnx", echo(infer.FP32, "n", 4))
	other := save(t, "b.onnx", echo(infer.Int64, "n", 4))
	if out, err := p.Run(t, "models", "push", "refused", good, "--version", "1"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, tc := range map[string]struct {
		args []string
		exit int
		want string
	}{
		"not a model":                    {[]string{"refused", save(t, "x.onnx", []byte("hello"))}, 1, "x.onnx"},
		"an empty file":                  {[]string{"refused", save(t, "x.onnx", nil)}, 1, "x.onnx"},
		"no file":                        {[]string{"refused", "/nowhere.onnx"}, 1, "nowhere.onnx"},
		"a bad name":                     {[]string{"Not_A_Label", good}, 2, "a-z"},
		"a path for a name":              {[]string{"../refused", good}, 2, "a-z"},
		"other bytes for a version":      {[]string{"refused", other, "--version", "1"}, 1, "other bytes"},
		"a version that is not a number": {[]string{"refused", good, "--version", "x"}, 2, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := p.Run(t, append([]string{"models", "push"}, tc.args...)...)
			exit := -1
			if state, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Run returns it bare
				exit = state.ExitCode()
			}
			if exit != tc.exit || !regexp.MustCompile(tc.want).MatchString(out) {
				t.Errorf("exit %d, want %d and %q in:\n%s", exit, tc.exit, tc.want, out)
			}
		})
	}
}

// exampleAnswers pastes the README's push of examples/churn, from the repository's
// root, and the line that it prints; and deploys it.
func exampleAnswers(t *testing.T, p *platform) {
	push := regexp.MustCompile(`(?m)^bin/(modelserve models push churn \S+)$`).FindStringSubmatch(string(testdata(t, "README.md")))
	if push == nil {
		t.Fatal("README.md does not push the example")
	}
	paste := func(line string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir = platformtest.Root(t)
		cmd.Env = append(os.Environ(), "MODELSERVE_DATA="+filepath.Join(p.Dir, ".modelserve"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	pushed := paste(filepath.Dir(p.CLI) + "/" + push[1])
	for _, want := range []string{"published churn@1", "batches of"} {
		if !strings.Contains(pushed, want) {
			t.Errorf("no %q in:\n%s", want, pushed)
		}
	}
	curl := regexp.MustCompile(`(?m)^curl .*$`).FindString(pushed)
	if answer := paste(curl); !strings.Contains(answer, `"name":"probabilities"`) {
		t.Errorf("the printed line:\n%s\nis answered by %s", curl, answer)
	}
	if out, err := p.Run(t, "deploy", "churn"); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	for name, host := range map[string]string{"by the pool": "", "by its own service": p.Host("churn")} {
		res := p.must(t, request{host: host, path: "/v2/models/churn/infer", body: testdata(t, "examples/churn/customers.json")})
		if res.status != http.StatusOK || !bytes.Contains(res.body, []byte(`"shape":[2],"data":[1,0]`)) {
			t.Errorf("%s: %d %s, want the first customer to leave and the second to stay", name, res.status, res.body)
		}
	}
}

// tritonClient publishes the models that the script asks, and runs it.
func tritonClient(t *testing.T, p *platform) {
	for name, dtype := range map[string]infer.DataType{
		"echo-fp32": infer.FP32, "echo-fp16": infer.FP16, "echo-int64": infer.Int64, "echo-bool": infer.Bool, "echo-bytes": infer.Bytes,
	} {
		path := save(t, name+".onnx", echo(dtype, "n", "m"))
		p.forget(t, name)
		if out, err := p.Run(t, "models", "push", name, path); err != nil {
			t.Fatalf("push %s: %v\n%s", name, err, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-W", "ignore", "triton_client.py")
	cmd.Env = append(os.Environ(), "E2E_ADDRESS="+p.Address, "E2E_KEY="+p.Key, "PYTHONPATH="+filepath.Join(platformtest.Root(t), ".deps/python"), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func keys(t *testing.T, p *platform) {
	for name, header := range map[string]map[string]string{
		"none":         {},
		"nonsense":     {"X-API-Key": "hello"},
		"one too long": {"X-API-Key": "ms_" + strings.Repeat("a", 10000)},
		"wrong secret": {"X-API-Key": p.Key[:len(p.Key)-1] + "_"},
	} {
		t.Run(name, func(t *testing.T) {
			res := p.must(t, request{path: "/v2/models/text-detect", header: header, noKey: true})
			if res.status != http.StatusUnauthorized || res.code() != "unauthenticated" {
				t.Errorf("%d %s", res.status, res.body)
			}
		})
	}
	out, err := p.Run(t, "keys", "create", "ci", "--scope", "infer:text-orient", "--output", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var made struct{ ID, Key string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Key == "" {
		t.Fatalf("%v in %s", err, out)
	}
	ask := func(path string) int {
		return p.must(t, request{path: path, noKey: true, header: map[string]string{"Authorization": "Bearer " + made.Key}}).status
	}
	if got := ask("/v2/models/text-orient"); got != http.StatusOK {
		t.Errorf("its own model: %d", got)
	}
	if got := ask("/v2/models/text-detect"); got != http.StatusForbidden {
		t.Errorf("another model: %d", got)
	}
	if got := ask("/v1/keys"); got != http.StatusForbidden {
		t.Errorf("the keys: %d", got)
	}
	if out, err := p.Run(t, "keys", "revoke", made.ID); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p.eventually(t, "a revoked key is refused", func() error {
		if got := ask("/v2/models/text-orient"); got != http.StatusUnauthorized {
			return fmt.Errorf("status %d", got)
		}
		return nil
	})
}

// backToZero waits until every function has gone, and wakes one again.
func backToZero(t *testing.T, p *platform) {
	p.eventually(t, "every function is at zero", func() error {
		if n := len(children(t, p)); n > 0 {
			return fmt.Errorf("%d children run", n)
		}
		return nil
	})
	res := p.must(t, request{host: p.Host("content-detect"), path: "/", body: []byte("#!/bin/sh\necho hello\n"), header: map[string]string{"Content-Type": "application/octet-stream"}})
	if res.status != http.StatusOK {
		t.Errorf("from zero: %d %s", res.status, res.body)
	}
	if timing := strings.Join(res.header.Values("Server-Timing"), ", "); !strings.Contains(timing, "schedule;dur=") || !strings.Contains(timing, "load;dur=") {
		t.Errorf("a cold answer's parts: %q", timing)
	}
}
