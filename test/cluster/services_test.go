//go:build linux

package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// secretsOf are a cluster's Secrets, by namespace/name.
func secretsOf(t *testing.T, c *cluster) map[string]map[string]string {
	t.Helper()
	text, err := c.secrets()
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]map[string]string{}
	for document := range strings.SplitSeq(text, "\n---\n") {
		var object struct {
			Kind       string
			Metadata   struct{ Namespace, Name string }
			StringData map[string]string
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "Secret" {
			secrets[object.Metadata.Namespace+"/"+object.Metadata.Name] = object.StringData
		}
	}
	return secrets
}

// TestGatewaysCountInTheClustersOwnStores holds that they are given the URLs of the
// PostgreSQL and the Redis that the cluster runs, with their passwords.
func TestGatewaysCountInTheClustersOwnStores(t *testing.T) {
	t.Parallel()
	secrets := secretsOf(t, newCluster(t))
	given := secrets["default/modelserve-gateway"]
	for name, want := range map[string]struct{ scheme, host, user, password string }{
		"MODELSERVE_GATEWAY_DB": {"postgres", "postgres." + namespace + ".svc.cluster.local:5432", "postgres", secrets[namespace+"/postgres"]["POSTGRES_PASSWORD"]},
		"MODELSERVE_REDIS":      {"redis", "redis." + namespace + ".svc.cluster.local:6379", "default", secrets[namespace+"/redis"]["REDIS_PASSWORD"]},
	} {
		at, err := url.Parse(given[name])
		if err != nil {
			t.Fatal(err)
		}
		if password, _ := at.User.Password(); at.Scheme != want.scheme || at.Host != want.host || at.User.Username() != want.user || password != want.password || password == "" {
			t.Errorf("%s is that of %s://%s@%s", name, at.Scheme, at.User.Username(), at.Host)
		}
	}
	if err := redislimit.Check(given["MODELSERVE_REDIS"]); err != nil {
		t.Errorf("MODELSERVE_REDIS: %v", err)
	}
}

// What functions are given must not be what models are published with.
func TestFunctionsOnlyRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	secrets := secretsOf(t, c)
	root, given := secrets[namespace+"/s3"], secrets["default/modelserve-s3"]
	if given["MODELSERVE_S3_ACCESS_KEY_ID"] != reader || root["ROOT_ACCESS_KEY_ID"] != bucket {
		t.Errorf("functions are %q, and the root is %q", given["MODELSERVE_S3_ACCESS_KEY_ID"], root["ROOT_ACCESS_KEY_ID"])
	}
	for name, values := range secrets {
		for key, value := range values {
			if strings.HasPrefix(name, "default/") && value == root["ROOT_SECRET_ACCESS_KEY"] {
				t.Errorf("%s has the root's secret as %s", name, key)
			}
		}
	}
	secret, err := os.ReadFile(filepath.Join(c.run, "credentials", "s3-reader"))
	if err != nil || string(secret) != given["MODELSERVE_S3_SECRET_ACCESS_KEY"] {
		t.Errorf("the reader's secret is not the one that the S3 server has: %v", err)
	}
	var policy struct {
		Statement []struct {
			Effect           string
			Principal        struct{ AWS []string }
			Action, Resource []string
		}
	}
	if err := json.Unmarshal([]byte(bucketPolicy), &policy); err != nil {
		t.Fatal(err)
	}
	for _, s := range policy.Statement {
		for _, action := range s.Action {
			writes := action != "s3:GetObject" && action != "s3:ListBucket"
			if s.Effect != "Allow" || writes && !slices.Equal(s.Resource, []string{"arn:aws:s3:::" + bucket + "/payloads/*"}) ||
				action == "s3:DeleteObject" && slices.Contains(s.Principal.AWS, reader) {
				t.Errorf("the policy has %+v", s)
			}
		}
	}
}

// TestThePipelinesServiceHasItsOwn holds that it shares neither its database nor its
// account with others, and that functions verify steps by the half of its key that is
// public.
func TestThePipelinesServiceHasItsOwn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	secrets := secretsOf(t, c)
	given, gateway := secrets["default/modelserve-pipelines"], secrets["default/modelserve-gateway"]
	if given["MODELSERVE_PIPELINES_DB"] == gateway["MODELSERVE_GATEWAY_DB"] || !strings.Contains(given["MODELSERVE_PIPELINES_DB"], "/pipelines?") {
		t.Error("its database is the gateway's")
	}
	if given["MODELSERVE_REDIS"] != gateway["MODELSERVE_REDIS"] || given["MODELSERVE_S3_ACCESS_KEY_ID"] != pipelines {
		t.Errorf("its Redis is another's, or its account is %q", given["MODELSERVE_S3_ACCESS_KEY_ID"])
	}
	signer, err := sign.ParseSigner([]byte(given["MODELSERVE_PIPELINES_KEY"]))
	if err != nil {
		t.Fatal(err)
	}
	_, public, err := c.keyTexts(pipelines)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := sign.ParseVerifier([]byte(public))
	if err != nil || verifier.Verify([]byte("a"), signer.Sign([]byte("a"))) != nil {
		t.Errorf("functions do not know its key: %v", err)
	}
}
