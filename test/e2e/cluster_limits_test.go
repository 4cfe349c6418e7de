//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/test/platformtest"
)

// The limits of these tests: a bucket that hardly fills meanwhile, and one call at once.
const (
	limitBurst = 20
	limitEvery = 10 * time.Second // a token
)

const limitsFile = `apiVersion: modelserve.dev/v1
kind: Gateway
limits:
  - {name: together, match: {tenant: %[1]s}, per: [tenant], rate: 6/m, burst: %[2]d}
  - {name: at-once, match: {tenant: %[1]s-places}, per: [tenant], concurrency: 1}
`

// TestClusterLimits runs several gateways over the cluster's Redis and PostgreSQL, and
// holds that they have one count of what callers may have and of what they used.
func TestClusterLimits(t *testing.T) {
	if os.Getenv("MODELSERVE_CLUSTER") == "" {
		t.Fatal("MODELSERVE_CLUSTER is not set: this test kills processes of the cluster that `make cluster` made")
	}
	p := cluster(t)
	pods := gateways(t, p)
	tenant := "e2e-" + strconv.FormatInt(time.Now().UnixMilli(), 36) // of this run alone
	limitsInForce(t, p, pods, fmt.Sprintf(limitsFile, tenant, limitBurst))
	p.eventually(t, "the function answers", func() error { return answers(t, p, classify(p)) })
	t.Run("gateways have one limit together", func(t *testing.T) {
		admitted := limitedTogether(t, p, pods, classifyAs(t, p, tenant))
		usageAddsUp(t, p, tenant, admitted)
	})
	t.Run("a killed one's places come back", func(t *testing.T) { placesComeBack(t, p, pods, classifyAs(t, p, tenant+"-places")) })
}

// limitsInForce has the gateways follow a file until the test ends, and waits until each
// of them does.
func limitsInForce(t *testing.T, p *platform, pods []corev1.Pod, file string) {
	t.Helper()
	mustTool(t, "kubectl", "create", "configmap", "modelserve-gateway", "--from-literal=gateway.yaml="+file)
	t.Cleanup(func() { _, _ = kubectl(t, "delete", "configmap", "modelserve-gateway", "--ignore-not-found") })
	lookAgain(t, pods)
	for i := range pods {
		p.eventually(t, "the file is in force", func() error {
			res, err := p.at(&pods[i]).do(t, request{host: gatewayHost, path: "/v1/gateway"})
			if err != nil {
				return err
			}
			var is struct{ Limits []struct{ Name string } }
			if err := json.Unmarshal(res.body, &is); err != nil || len(is.Limits) != 2 {
				return fmt.Errorf("%d %s", res.status, res.body)
			}
			return nil
		})
	}
}

// classifyAs is classify with a key of a tenant, until the test ends.
func classifyAs(t *testing.T, p *platform, tenant string) request {
	t.Helper()
	body := fmt.Sprintf(`{"name":"e2e-limits","tenant":%q,"scopes":["infer:content-detect"]}`, tenant)
	res := p.must(t, request{host: gatewayHost, path: "/v1/keys", body: []byte(body), header: map[string]string{"Content-Type": "application/json"}})
	var key struct{ ID, Key string }
	if err := json.Unmarshal(res.body, &key); err != nil || res.status != http.StatusCreated {
		t.Fatalf("%d %s", res.status, res.body)
	}
	t.Cleanup(func() {
		_, _ = tool(t, "", filepath.Join(platformtest.Root(t), "bin/modelserve"), "keys", "revoke", key.ID)
	})
	r := classify(p)
	r.noKey = true
	r.header["Authorization"] = "Bearer " + key.Key
	return r
}

// limitedTogether calls through all gateways in turn: they admit the burst and what came
// since, whichever of them is asked, and a caller who comes again when they should. It
// returns how many calls were admitted.
func limitedTogether(t *testing.T, p *platform, pods []corev1.Pod, r request) (admitted int) {
	t.Helper()
	began := time.Now()
	for n := range limitBurst { // no gateway has more than a third of it
		if err := answers(t, p.at(&pods[n%replicas]), r); err != nil {
			t.Fatalf("call %d of %d that are allowed: %v", n+1, limitBurst, err)
		}
		admitted++
	}
	var refused [replicas]int
	var last *response
	for n := range limitBurst * replicas {
		res := p.at(&pods[n%replicas]).must(t, r)
		switch {
		case res.status == http.StatusOK:
			admitted++
		case res.status == http.StatusTooManyRequests && res.code() == "rate_limited":
			refused[n%replicas]++
			last = res
		default:
			t.Fatalf("%d %s", res.status, res.body)
		}
	}
	if most := limitBurst + 1 + int(time.Since(began)/limitEvery); admitted > most {
		t.Errorf("%d calls were admitted in %v, and at most %d are allowed", admitted, time.Since(began), most)
	}
	if slices.Contains(refused[:], 0) {
		t.Fatalf("by gateway so many calls were refused: %v", refused)
	}
	seconds, err := strconv.Atoi(last.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("Retry-After is %q: %v", last.header.Get("Retry-After"), err)
	}
	select {
	case <-time.After(time.Duration(seconds) * time.Second): // what a caller does who follows it
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := answers(t, p.at(&pods[0]), r); err != nil {
		t.Errorf("after the %d s that Retry-After asked for: %v", seconds, err)
		return admitted
	}
	return admitted + 1
}

// usageAddsUp wants a tenant's usage to be that of the calls that all gateways admitted.
func usageAddsUp(t *testing.T, p *platform, tenant string, admitted int) {
	t.Helper()
	path := "/v1/usage?by=tenant,model&tenant=" + tenant + "&from=" + time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	p.eventually(t, "the usage adds up", func() error {
		res, err := p.do(t, request{host: gatewayHost, path: path})
		if err != nil {
			return err
		}
		var list struct {
			Usage []struct {
				Tenant, Model    string
				Requests, Errors int
				Rows             int
				BytesIn          int `json:"bytes_in"`
			}
		}
		if err := json.Unmarshal(res.body, &list); err != nil {
			return fmt.Errorf("%d %s: %w", res.status, res.body, err)
		}
		if len(list.Usage) != 1 {
			return fmt.Errorf("%d %s", res.status, res.body)
		}
		is := list.Usage[0]
		if is.Tenant != tenant || is.Model != "content-detect" || is.Requests != admitted || is.Errors != 0 ||
			is.Rows < admitted || is.BytesIn != admitted*len(classify(p).body) {
			return fmt.Errorf("%+v of %d calls", is, admitted)
		}
		return nil
	})
}

// placesComeBack kills a gateway with a call under way that is one of as many as are
// allowed at once: the others refuse until it counts no more.
func placesComeBack(t *testing.T, p *platform, pods []corev1.Pod, r request) {
	t.Helper()
	hold := func() net.Conn { // by a body that does not come
		conn := p.at(&pods[0]).dial(t)
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n",
			r.host, r.header["Authorization"], r.header["Content-Type"])
		return conn
	}
	full := func(pod *corev1.Pod) error {
		res, err := p.at(pod).do(t, r)
		if err == nil && (res.status != http.StatusTooManyRequests || res.code() != "rate_limited") {
			err = fmt.Errorf("%d %s", res.status, res.body)
		}
		return err
	}
	held := hold()
	p.eventually(t, "another gateway refuses what is too much at once", func() error {
		err := full(&pods[1])
		if err != nil { // that call may have had the place when the held one was to have it
			err = errors.Join(err, held.Close())
			held = hold()
		}
		return err
	})
	if err := full(&pods[2]); err != nil {
		t.Errorf("the third gateway: %v", err)
	}
	killProcesses(t, "/ko-app/gateway", string(pods[0].UID))
	killed := time.Now()
	p.eventually(t, "its place is free", func() error { return answers(t, p.at(&pods[1]), r) })
	t.Logf("the place of a killed gateway was free after %v", time.Since(killed))
	p.eventually(t, "all are ready", func() error {
		_, err := readyGateways(t)
		return err
	})
}
