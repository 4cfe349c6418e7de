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
			Effect    string
			Principal struct{ AWS []string }
			Action    []string
		}
	}
	if err := json.Unmarshal([]byte(readPolicy), &policy); err != nil {
		t.Fatal(err)
	}
	if len(policy.Statement) != 1 || !slices.Equal(policy.Statement[0].Action, []string{"s3:GetObject", "s3:ListBucket"}) ||
		!slices.Equal(policy.Statement[0].Principal.AWS, []string{reader}) {
		t.Errorf("the policy is %+v", policy)
	}
}
