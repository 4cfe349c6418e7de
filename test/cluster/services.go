//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/runtime/sign"
)

//go:embed manifest
var manifests embed.FS

const (
	namespace = "modelserve" // of what the platform stands on
	bucket    = "modelserve" // and who publishes
	reader    = "reader"     // functions and the gateway, which publish nothing
	pipelines = "pipelines"  // the pipelines service: an account and a database of its own
	region    = "us-east-1"
	s3URL     = "http://" + nodeIP + ":30070" // from the machine
	ingress   = "http://" + nodeIP
	gatewayAt = "gateway.default.models.test"
)

// images makes those of PostgreSQL and Redis out of Debian's packages.
func (c *cluster) images(ctx context.Context) error {
	c.waitFor("make them out of Debian's packages")
	return c.inSource(ctx, "go", "run", "./cmd/images", "-push", ownImages, "-spec", "test/cluster/images/postgres.yaml,test/cluster/images/redis.yaml")
}

// services starts what the platform stands on, each with credentials made up for
// this cluster.
func (c *cluster) services(ctx context.Context) error {
	for _, name := range []string{"s3", "s3-accounts", "postgres", "redis"} {
		if err := c.dataFolder(name); err != nil {
			return err
		}
	}
	if err := c.accounts(); err != nil {
		return err
	}
	secrets, err := c.secrets()
	if err != nil {
		return err
	}
	if err := c.deploy(ctx, "services", c.tools(), namespace, secrets); err != nil {
		return err
	}
	return c.until(ctx, time.Minute, "the S3 server", c.makeBucket)
}

// deploy applies one of our own manifests, with its images made out of the module
// in dir, and waits for what it starts.
func (c *cluster) deploy(ctx context.Context, name, dir, namespace, secrets string) error {
	raw, err := manifests.ReadFile("manifest/" + name + ".yaml")
	if err != nil {
		return err
	}
	text, err := c.resolve(ctx, name, dir, strings.ReplaceAll(string(raw), "{{.State}}", c.state))
	if err != nil {
		return err
	}
	first, rest, err := split(text + "\n---\n" + secrets)
	if err != nil {
		return err
	}
	if err := errors.Join(c.apply(ctx, first), c.apply(ctx, rest)); err != nil {
		return err
	}
	return c.available(ctx, namespace)
}

// dataFolder is where a pod keeps its data, as the user it runs as.
func (c *cluster) dataFolder(name string) error {
	dir := filepath.Join(c.state, "data", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chown(dir, 65532, 65532)
}

// accounts writes those that the S3 server has beside its root, where it looks
// for them.
func (c *cluster) accounts() error {
	secret, err := c.credential("s3-reader")
	other, errOther := c.credential("s3-pipelines")
	if err := errors.Join(err, errOther); err != nil {
		return err
	}
	type account struct {
		Access string `json:"access"`
		Secret string `json:"secret"`
		Role   string `json:"role"`
	}
	text, err := json.Marshal(map[string]map[string]account{"accessAccounts": {reader: {reader, secret, "user"}, pipelines: {pipelines, other, "user"}}})
	if err != nil {
		return err
	}
	file := filepath.Join(c.state, "data/s3-accounts/users.json")
	if had, err := os.ReadFile(file); err == nil && string(had) == string(text) {
		return nil
	}
	return errors.Join(replace(file, text), os.Chown(file, 65532, 65532))
}

// credential reads a secret of this cluster, made at its first use.
func (c *cluster) credential(name string) (string, error) {
	file := filepath.Join(c.run, "credentials", name)
	data, err := os.ReadFile(file)
	if !errors.Is(err, os.ErrNotExist) {
		return string(data), err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	made := make([]byte, 32)
	_, _ = rand.Read(made) // never fails (crypto/rand)
	text := hex.EncodeToString(made)
	return text, os.WriteFile(file, []byte(text), 0o600)
}

// adminKey is the gateway's first key, in the form of contracts: ms_<id>_<secret>.
func (c *cluster) adminKey() (string, error) {
	secret, err := c.credential("gateway")
	return "ms_cluster_" + secret, err
}

// hashKey is what the gateway hashes the secrets of keys with.
func (c *cluster) hashKey() (string, error) {
	text, err := c.credential("hash-key")
	if err != nil {
		return "", err
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 32 {
		return "", errors.New("the credential hash-key is not 32 bytes in hexadecimal")
	}
	return auth.HashKey{ID: "cluster", Key: [32]byte(raw)}.String(), nil
}

// keys are the files of a pair of keys, made at their first use: of "signing", what this
// cluster's models are signed with; of "pipelines", the steps of its pipelines.
func (c *cluster) keys(name string) (private, public string, err error) {
	dir := filepath.Join(c.run, "credentials")
	private, public = filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pub")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	signer, err := sign.ReadSigner(private)
	switch {
	case errors.Is(err, os.ErrNotExist):
		_, err = sign.CreateKeys(private, public)
	case err == nil:
		err = signer.WritePublic(public) // whoever was interrupted between the two has one
	}
	return private, public, err
}

// secrets are the credentials as Kubernetes has them, with the key that models
// are verified by: for what keeps the data,
// and for the platform in the namespace it is deployed to.
func (c *cluster) secrets() (string, error) {
	var text strings.Builder
	secret := func(namespace, name string, pairs ...string) {
		fmt.Fprintf(&text, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:\n", name, namespace)
		for i := 0; i < len(pairs); i += 2 {
			fmt.Fprintf(&text, "  %s: %q\n", pairs[i], pairs[i+1])
		}
		text.WriteString("---\n")
	}
	postgres, err := c.credential("postgres")
	redis, errRedis := c.credential("redis")
	store, errStore := c.credential("s3")
	read, errRead := c.credential("s3-reader")
	admin, errAdmin := c.adminKey()
	proof, errProof := c.credential("functions")
	asked, errAsked := c.credential("pipelines-api")
	if err := errors.Join(err, errRedis, errStore, errRead, errAdmin, errProof, errAsked); err != nil {
		return "", err
	}
	secret(namespace, "postgres", "POSTGRES_PASSWORD", postgres)
	secret(namespace, "redis", "REDIS_PASSWORD", redis)
	secret(namespace, "s3", "ROOT_ACCESS_KEY_ID", bucket, "ROOT_SECRET_ACCESS_KEY", store)
	secret("default", "modelserve-s3", "MODELSERVE_S3_ACCESS_KEY_ID", reader, "MODELSERVE_S3_SECRET_ACCESS_KEY", read)
	hashKey, err := c.hashKey()
	if err != nil {
		return "", err
	}
	secret("default", "modelserve-gateway", "MODELSERVE_ADMIN_KEY", admin, "MODELSERVE_HASH_KEYS", hashKey,
		"MODELSERVE_GATEWAY_DB", "postgres://postgres:"+postgres+"@postgres."+namespace+".svc.cluster.local:5432/postgres?sslmode=disable",
		"MODELSERVE_REDIS", "redis://default:"+redis+"@redis."+namespace+".svc.cluster.local:6379")
	secret("default", "modelserve-functions", "MODELSERVE_GATEWAY_SECRET", proof)
	secret("default", "modelserve-pipelines-api", "MODELSERVE_PIPELINES_SECRET", asked)
	_, signed, err := c.keyTexts("signing")
	private, stepped, errSteps := c.keyTexts(pipelines)
	write, errWrite := c.credential("s3-pipelines")
	if err := errors.Join(err, errSteps, errWrite); err != nil {
		return "", err
	}
	secret("default", "modelserve-pipelines", "MODELSERVE_PIPELINES_KEY", private,
		"MODELSERVE_GATEWAY_DB", "postgres://postgres:"+postgres+"@postgres."+namespace+".svc.cluster.local:5432/postgres?sslmode=disable",
		"MODELSERVE_PIPELINES_DB", "postgres://postgres:"+postgres+"@postgres."+namespace+".svc.cluster.local:5432/"+pipelines+"?sslmode=disable",
		"MODELSERVE_REDIS", "redis://default:"+redis+"@redis."+namespace+".svc.cluster.local:6379",
		"MODELSERVE_S3_ACCESS_KEY_ID", pipelines, "MODELSERVE_S3_SECRET_ACCESS_KEY", write)
	for _, m := range [][3]string{{"modelserve-signing", "MODELSERVE_PUBLIC_KEY", signed}, {"modelserve-pipelines", "MODELSERVE_PIPELINES_PUBLIC_KEY", stepped}} {
		fmt.Fprintf(&text, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata:\n  %s: %q\n---\n", m[0], m[1], m[2])
	}
	return text.String(), nil
}

// keyTexts are a pair of keys in PEM.
func (c *cluster) keyTexts(name string) (private, public string, err error) {
	privateFile, publicFile, err := c.keys(name)
	if err != nil {
		return "", "", err
	}
	key, err := os.ReadFile(privateFile)
	pub, errPublic := os.ReadFile(publicFile)
	return string(key), string(pub), errors.Join(err, errPublic)
}

// bucketPolicy lets the reader and the pipelines service read the bucket, and write below
// payloads/; the service alone removes what is there.
const bucketPolicy = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Principal": {"AWS": ["` + reader + `", "` + pipelines + `"]},
		"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::` + bucket + `", "arn:aws:s3:::` + bucket + `/*"]},
	{"Effect": "Allow", "Principal": {"AWS": ["` + reader + `", "` + pipelines + `"]},
		"Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::` + bucket + `/payloads/*"]},
	{"Effect": "Allow", "Principal": {"AWS": ["` + pipelines + `"]},
		"Action": ["s3:DeleteObject"], "Resource": ["arn:aws:s3:::` + bucket + `/payloads/*"]}]}`

func (c *cluster) makeBucket(ctx context.Context) error {
	secret, err := c.credential("s3")
	if err != nil {
		return err
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(s3URL), Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(bucket, secret, ""),
	})
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	var mine *types.BucketAlreadyOwnedByYou
	var there *types.BucketAlreadyExists
	if err != nil && !errors.As(err, &mine) && !errors.As(err, &there) {
		return err
	}
	_, err = client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(bucketPolicy)})
	return err
}

// models publishes the shipped models, as anyone would: with the CLI.
func (c *cluster) models(ctx context.Context) error {
	c.waitFor("build bin/modelserve, and fetch what it publishes")
	if err := c.inSource(ctx, "make", "--no-print-directory", "deps", "build"); err != nil {
		return err
	}
	environment, err := c.environment()
	if err != nil {
		return err
	}
	c.waitFor("publish the models: each is run and measured first")
	cmd := exec.CommandContext(ctx, "bin/modelserve", "models", "publish-shipped")
	cmd.Dir, cmd.Env = c.source, os.Environ()
	for _, pair := range environment {
		cmd.Env = append(cmd.Env, pair[0]+"="+pair[1])
	}
	_, err = finish(cmd, "")
	return err
}

// environment is the variables by which tools find the cluster.
func (c *cluster) environment() ([][2]string, error) {
	key, err := c.adminKey()
	secret, errStore := c.credential("s3")
	private, public, errKeys := c.keys("signing")
	if err := errors.Join(err, errStore, errKeys); err != nil {
		return nil, err
	}
	return [][2]string{
		{"NO_PROXY", os.Getenv("NO_PROXY")},
		{"no_proxy", os.Getenv("no_proxy")},
		{"KUBECONFIG", c.kubeconfig()},
		{"KO_DOCKER_REPO", registry},
		{"KO_DEFAULTPLATFORMS", platform()},
		{"MODELSERVE_CLUSTER", c.bin("cluster")},
		{"GATEWAY_URL", ingress},
		{"MODELSERVE_SERVER", ingress},
		{"MODELSERVE_KEY", key},
		{"MODELSERVE_S3_ENDPOINT", s3URL},
		{"MODELSERVE_S3_BUCKET", bucket},
		{"MODELSERVE_S3_REGION", region},
		{"MODELSERVE_S3_PATH_STYLE", "true"},
		{"MODELSERVE_S3_ACCESS_KEY_ID", bucket},
		{"MODELSERVE_S3_SECRET_ACCESS_KEY", secret},
		{"MODELSERVE_SIGNING_KEY_FILE", private},
		{"MODELSERVE_PUBLIC_KEY_FILE", public},
	}, nil
}

// writeEnvironment writes .cluster/env.
func (c *cluster) writeEnvironment() error {
	environment, err := c.environment()
	if err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString("# Of this checkout's cluster: . .cluster/env\n")
	for _, pair := range environment {
		fmt.Fprintf(&text, "export %s='%s'\n", pair[0], pair[1])
	}
	fmt.Fprintf(&text, "case \":$PATH:\" in *':%[1]s:'*) ;; *) export PATH='%[1]s':$PATH ;; esac\n", filepath.Join(c.dir, "bin"))
	key, err := c.adminKey()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(c.dir, "env"), []byte(text.String()), 0o600),
		// For curl -H @FILE, whose arguments every user of the machine sees.
		os.WriteFile(filepath.Join(c.dir, "key.header"), []byte("X-API-Key: "+key+"\n"), 0o600))
}

// announce prints that the cluster is there, and what to do with it.
func (c *cluster) announce() error {
	if err := c.writeEnvironment(); err != nil {
		return err
	}
	c.printf("the cluster is up\n\n  . .cluster/env && make deploy\n  kubectl get pods -A\n  make cluster-down\n")
	return nil
}
