//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/test/platformtest"
)

// cluster is the platform of the cluster that .cluster/env describes.
func cluster(t *testing.T) *platform {
	t.Helper()
	for _, name := range []string{"KUBECONFIG", "GATEWAY_URL", "MODELSERVE_KEY", "MODELSERVE_S3_ENDPOINT"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s is not set: run `make e2e`, or `. .cluster/env` first", name)
		}
	}
	at, err := url.Parse(os.Getenv("GATEWAY_URL"))
	if err != nil {
		t.Fatal(err)
	}
	// In the place of `make build`: what is there and new enough is not linked again.
	mustTool(t, "go", "build", "-trimpath", "-o", "bin/modelserve", "./cmd/modelserve")
	return &platform{
		Platform: &platformtest.Platform{
			Address: net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), "80")), Domain: "default.models.test", Key: os.Getenv("MODELSERVE_KEY"),
			Dir: t.TempDir(), CLI: filepath.Join(platformtest.Root(t), "bin/modelserve"), Output: new(logtest.Log),
		},
		records: s3.New(s3.Options{
			BaseEndpoint: aws.String(os.Getenv("MODELSERVE_S3_ENDPOINT")), Region: os.Getenv("MODELSERVE_S3_REGION"), UsePathStyle: true,
			Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("MODELSERVE_S3_ACCESS_KEY_ID"), os.Getenv("MODELSERVE_S3_SECRET_ACCESS_KEY"), ""),
		}),
	}
}

// TestClusterPlatform uses the cluster's platform in the ways of the local one,
// but for slow and broken clients: those are the ingress' there.
func TestClusterPlatform(t *testing.T) {
	p := cluster(t)
	for name, use := range map[string]func(*testing.T, *platform){
		"functions answer":         functionsAnswer,
		"functions answer V2 too":  functionsAnswerV2,
		"functions answer events":  functionsAnswerEvents,
		"a pushed model answers":   pushedModelAnswers,
		"a model refused":          modelsRefused,
		"the Triton client":        tritonClient,
		"keys":                     keys,
		"hostile input":            hostileInput,
		"a deployed model answers": deployedToCluster,
		"an unsigned model":        unsignedModel,
	} {
		t.Run(name, func(t *testing.T) { use(t, p) })
	}
}

// kubectl runs kubectl and returns what it printed.
func kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return tool(t, "", "kubectl", args...)
}

// tool runs one of the cluster's programs with an input, also when the test has
// ended and puts things right.
func tool(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = platformtest.Root(t)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String() + errs.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// mustTool runs a tool that has to succeed.
func mustTool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tool(t, "", name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// podsOf lists the pods of services, also those that are ending.
func podsOf(t *testing.T, services ...string) ([]corev1.Pod, error) {
	t.Helper()
	out, err := kubectl(t, "get", "pods", "-l", "serving.knative.dev/service in ("+strings.Join(services, ",")+")", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	err = json.Unmarshal([]byte(out), &list)
	return list.Items, err
}

// staying are the pods that are not ending.
func staying(pods []corev1.Pod) []corev1.Pod {
	return slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// fetch reads a page of a pod, whose address this machine reaches.
func fetch(t *testing.T, pod *corev1.Pod, port, path string) ([]byte, error) {
	t.Helper()
	if pod.Status.PodIP == "" {
		return nil, fmt.Errorf("%s has no address", pod.Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	at := "http://" + net.JoinHostPort(pod.Status.PodIP, port) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", at, res.Status, text)
	}
	return text, err
}

// TestClusterClientsThatOfferToUpgrade are answered in HTTP/1.1: Java's own client
// offers HTTP/2 with its first request.
func TestClusterClientsThatOfferToUpgrade(t *testing.T) {
	p := cluster(t)
	r := classify(p)
	r.header["Connection"], r.header["Upgrade"], r.header["HTTP2-Settings"] = "Upgrade, HTTP2-Settings", "h2c", "AAMAAABkAAQAAP__"
	p.eventually(t, "it is answered", func() error { return answers(t, p, r) })
}

// TestClusterNothingReachesAFunctionPastTheGateway asks in every way the ingress
// has: without a key each ends at the gateway, and a key opens no other door.
func TestClusterNothingReachesAFunctionPastTheGateway(t *testing.T) {
	p := cluster(t)
	if err := answers(t, p, classify(p)); err != nil {
		t.Fatalf("at the function's own name, with a key: %v", err)
	}
	const spoofed = "with a host for the gateway"
	for name, r := range map[string]request{
		"by its public name":         {host: "content-detect.default.models.test"},
		"by its name in the cluster": {host: "content-detect.default.svc.cluster.local"},
		"by a shorter one":           {host: "content-detect.default"},
		spoofed:                      {host: "gateway.default.models.test", header: map[string]string{"X-Forwarded-Host": "content-detect.default.models.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			good := classify(p)
			r.path, r.body, r.noKey = good.path, good.body, true
			if res := p.must(t, r); res.status != http.StatusUnauthorized || res.code() != "unauthenticated" {
				t.Errorf("without a key: %d %s", res.status, res.body)
			}
			if name != spoofed {
				return
			}
			// The ingress writes over what a caller claims: it is the gateway that
			// answers, which has nothing there.
			r.noKey = false
			if res := p.must(t, r); res.status != http.StatusNotFound || bytes.Contains(res.body, []byte("label")) {
				t.Errorf("with a key: %d %s", res.status, res.body)
			}
		})
	}
}

// deployedToCluster gives a model a service of its own.
func deployedToCluster(t *testing.T, p *platform) {
	path := save(t, "churn.onnx", echo(infer.FP32, "n", 2))
	if out, err := p.Run(t, "models", "push", "churn", path); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	t.Cleanup(func() { _, _ = tool(t, "", "kubectl", "delete", "ksvc", "churn", "--ignore-not-found") })
	cmd := exec.CommandContext(t.Context(), p.CLI, "deploy", "churn", "--output-dir", t.TempDir(), "--apply", "ko")
	cmd.Dir = platformtest.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	body := []byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`)
	p.eventually(t, "the deployed model answers", func() error {
		res, err := p.do(t, request{host: p.Host("churn"), path: "/v2/models/churn/infer", body: body})
		if err == nil && (res.status != http.StatusOK || !bytes.Contains(res.body, []byte(`"data":[1,2]`))) {
			err = errors.New(string(res.body))
		}
		return err
	})
}

// unsignedModel publishes one without a signature: no function of config/ runs it.
func unsignedModel(t *testing.T, p *platform) {
	path := save(t, "unsigned.onnx", echo(infer.FP32, "n", 2))
	cmd := exec.CommandContext(t.Context(), p.CLI, "models", "push", "e2e-unsigned", path)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "MODELSERVE_SIGNING_KEY_FILE=") // nor of a local platform
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	p.eventually(t, "the pool reports why it does not run it", func() error {
		res, err := p.do(t, request{path: "/v2/models/e2e-unsigned/infer", body: []byte(`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`)})
		if err == nil && (res.status != http.StatusServiceUnavailable || !bytes.Contains(res.body, []byte("unsigned"))) {
			err = fmt.Errorf("%d %s", res.status, res.body)
		}
		return err
	})
}

// bodyOf is a request's body.
func bodyOf(data []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }
