package local_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readyz is the status of the platform's readiness.
func (p *platform) readyz() int {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.address+"/readyz", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestAPlatformWithoutItsDatabaseIsNotReady holds that who may call is a part of the
// platform's readiness.
func TestAPlatformWithoutItsDatabaseIsNotReady(t *testing.T) {
	t.Parallel()
	p := begin(t)
	for p.readyz() != http.StatusOK { // until the shipped models are published
		pause(t)
	}
	if err := os.Remove(filepath.Join(p.data, "gateway.db")); err != nil {
		t.Fatal(err)
	}
	if got := p.readyz(); got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
}

// TestALostHashKeyIsNotMadeAnew holds that keys are not all ended by a file that is
// missing, and how to go on without it.
func TestALostHashKeyIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	p := begin(t)
	key, path := p.key(), filepath.Join(p.data, "hash.key")
	p.signal(os.Interrupt)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	out, err := p.command(p.address).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "put it back") || !strings.Contains(string(out), "modelserve gateway hash-key >"+path) {
		t.Errorf("started without its hash key: %v, %s", err, out)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a new one")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	p.start()
	if p.must("echo"); p.key() != key {
		t.Error("there is a new key")
	}
}

// TestCountsThatAreDamagedAreSetAside holds that what the gateway counts in is kept when
// the platform ends, and that the platform starts without it.
func TestCountsThatAreDamagedAreSetAside(t *testing.T) {
	t.Parallel()
	p := begin(t)
	p.signal(os.Interrupt)
	path := filepath.Join(p.data, "redis", "strings.json")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("kept: %v", err)
	}
	if err := os.WriteFile(path, []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.log.wait(t, path+".damaged", 1)
	p.must("echo")
	if text, err := os.ReadFile(path + ".damaged"); err != nil || string(text) != "no JSON" {
		t.Errorf("set aside: %q, %v", text, err)
	}
}
