package clients

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// grpcurl calls the protocol by hand, as people do from a shell.
func grpcurl(t *testing.T, p *platform) {
	run := grpcurlCommand(t)
	t.Logf("versions: grpcurl %s", moduleVersion(t, "tools/grpcurl/go.mod", "github.com/fullstorydev/grpcurl"))

	const service = "inference.GRPCInferenceService/"
	key := []string{"-H", "x-api-key: " + p.Key}
	echo := func(model string, rows ...float32) string {
		raw := make([]byte, 0, 4*len(rows))
		for _, v := range rows {
			raw, _ = binary.Append(raw, binary.LittleEndian, v)
		}
		return fmt.Sprintf(`{"model_name":%q,"id":"7","inputs":[{"name":"x","datatype":"FP32","shape":[1,%d]}],"raw_input_contents":[%q]}`,
			model, len(rows), base64.StdEncoding.EncodeToString(raw))
	}
	many := new(strings.Builder)
	for i := range 32 {
		fmt.Fprintln(many, strings.Replace(echo("echo-fp32", float32(i)), `"id":"7"`, fmt.Sprintf(`"id":"%d"`, i), 1))
	}
	call := func(args []string, message, method string) ([]byte, error) {
		args = append(args, "-plaintext", "-import-path", "runtime/infer", "-proto", "inferpb/grpc_service.proto", "-d", "@", p.Address, service+method)
		cmd := run(args...)
		cmd.Stdin = strings.NewReader(message)
		return cmd.CombinedOutput()
	}
	for name, tc := range map[string]struct {
		args            []string
		message, method string
		want            string // matched by what is printed
		fails           bool
	}{
		"live":               {key, `{}`, "ServerLive", `"live": true`, false},
		"ready":              {key, `{}`, "ServerReady", `"ready": true`, false},
		"a model ready":      {key, `{"name":"several"}`, "ModelReady", `"ready": true`, false},
		"server metadata":    {key, `{}`, "ServerMetadata", `"name": "modelserve"`, false},
		"model metadata":     {key, `{"name":"several"}`, "ModelMetadata", `(?s)"numbers".*"doubled"`, false},
		"repository index":   {key, `{}`, "RepositoryIndex", `"name": "echo-bf16"`, false},
		"raw contents":       {key, echo("echo-fp32", 1, 2), "ModelInfer", `"rawOutputContents": \[\s*"AACAPwAAAEA="`, false},
		"contents by type":   {key, `{"model_name":"echo-bytes","inputs":[{"name":"x","datatype":"BYTES","shape":[1,1],"contents":{"bytes_contents":["YQ=="]}}]}`, "ModelInfer", `"AQAAAGE="|"bytesContents": \[\s*"YQ=="`, false},
		"a deadline far off": {append([]string{"-max-time", "120"}, key...), echo("echo-fp32", 1), "ModelInfer", `"id": "7"`, false},
		"an unknown model":   {key, echo("never-heard-of", 1), "ModelInfer", `Code: NotFound`, true},
		"another data type":  {key, echo("echo-int64", 1), "ModelInfer", `Code: InvalidArgument`, true},
		"no key":             {nil, echo("echo-fp32", 1), "ModelInfer", `Code: Unauthenticated`, true},
		"a stream":           {key, echo("echo-fp32", 1) + "\n" + echo("never-heard-of", 1) + "\n" + echo("echo-fp32", 2), "ModelStreamInfer", `(?s)"AACAPw==".*never-heard-of.*"AAAAQA=="`, false},
		"a stream of 32":     {key, many.String(), "ModelStreamInfer", `(?s)("id": "\d+".*){32}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := call(tc.args, tc.message, tc.method)
			if (err != nil) != tc.fails || !regexp.MustCompile(tc.want).Match(out) {
				t.Errorf("%v, want an error %v and a match of %s in\n%s", err, tc.fails, tc.want, out)
			}
		})
	}
	t.Run("many at once get their own", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 { // each is a process of its own
			wg.Go(func() {
				out, err := call(key, echo("echo-fp32", float32(i)), "ModelInfer")
				var answer struct{ RawOutputContents [][]byte }
				want, _ := binary.Append(nil, binary.LittleEndian, float32(i))
				if err == nil {
					err = json.Unmarshal(out, &answer)
				}
				if err != nil || len(answer.RawOutputContents) != 1 || !bytes.Equal(answer.RawOutputContents[0], want) {
					t.Errorf("call %d: %v\n%s", i, err, out)
				}
			})
		}
		wg.Wait()
	})
}

// grpcurlCommand builds grpcurl from its own module and gives what runs it from
// the repository's root.
func grpcurlCommand(t *testing.T) func(args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), clientTimeout)
	t.Cleanup(cancel)
	path := t.TempDir() + "/grpcurl"
	build := exec.CommandContext(ctx, "go", "build", "-modfile=tools/grpcurl/go.mod", "-o", path, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	build.Dir = platformtest.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build grpcurl: %v\n%s", err, out)
	}
	return func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Dir = platformtest.Root(t)
		return cmd
	}
}
