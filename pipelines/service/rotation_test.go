package service_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/service"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// TestTheKeyIsReplacedWhileExecutionsRun holds that the order of docs/operate.md fails no
// step: both public keys to functions and service, then the private key, then the objects,
// and the old public key last; and that a function without the new key refuses its steps.
func TestTheKeyIsReplacedWhileExecutionsRun(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	dir := t.TempDir()
	var keys [2]*sign.Signer
	for i := range keys {
		var err error
		if keys[i], err = sign.CreateKeys(filepath.Join(dir, fmt.Sprint("key", i)), filepath.Join(dir, fmt.Sprint("pub", i))); err != nil {
			t.Fatal(err)
		}
	}
	trusting := func(of ...*sign.Signer) *ticket.Verifier {
		verifiers := sign.NewVerifier(of[0].Public())
		if len(of) > 1 {
			verifiers = sign.NewVerifier(of[0].Public(), of[1].Public())
		}
		return ticket.NewVerifier(verifiers)
	}
	restart := func() {
		p.stop()
		p.run(service.Config{})
	}
	var ids []string
	p.signer, p.tickets = ticket.NewSigner(keys[0]), trusting(keys[0])
	restart()
	chained(p)
	v := p.register("chain", chain)
	begin := func() {
		for range 8 {
			id := fmt.Sprintf("x%d", len(ids))
			ids = append(ids, id)
			p.begin(v, id, `{"a": 1}`)
		}
	}
	ended := func() {
		for _, id := range ids {
			x := p.ended(id)
			if got := p.output(x); got != chainOutput {
				t.Errorf("%s: %s", id, got)
			}
			for _, s := range x.Steps {
				if s.Attempts != 1 {
					t.Errorf("%s: step %+v", id, s)
				}
			}
		}
		ids = nil
	}
	begin()
	p.tickets = trusting(keys[0], keys[1])
	chained(p)
	begin()
	restart()
	begin()
	p.signer = ticket.NewSigner(keys[1])
	restart()
	begin() // at addresses that the old key signed
	p.apply(v)
	begin()
	ended()
	p.tickets = trusting(keys[1])
	chained(p)
	restart()
	begin()
	ended()

	p.tickets = trusting(keys[0])
	p.function("two", echo("two"))
	p.begin(v, "wrong", `{"a": 1}`)
	if x := p.ended("wrong"); x.Status != execution.Failed || x.Error.Code != string(problem.PermissionDenied) {
		t.Errorf("a function that does not have the key: %s, %+v", x.Status, x.Error)
	}
}
