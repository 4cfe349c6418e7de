package ticket_test

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/sign"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// newKeys makes a key, and its public half in PEM.
func newKeys(t testing.TB) (*sign.Signer, string) {
	t.Helper()
	dir := t.TempDir()
	key, err := sign.CreateKeys(filepath.Join(dir, "key"), filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pub"))
	if err != nil {
		t.Fatal(err)
	}
	return key, string(text)
}

func good() ticket.Ticket {
	return ticket.Ticket{
		Tenant: "acme", Execution: "ex_1-A", Pipeline: digest, Segment: 1, Item: 20, Epoch: 3, Deadline: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
	}
}

// plain reports whether a text may be a header's value, and an extension's, as it is.
func plain(text string) bool {
	return strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

func TestTicket(t *testing.T) {
	t.Parallel()
	key, _ := newKeys(t)
	signer := ticket.NewSigner(key)
	longest := ticket.Ticket{
		Tenant: strings.Repeat("a", 63), Execution: strings.Repeat("Z", 64), Pipeline: digest,
		Segment: 1 << 31, Item: 1 << 31, Epoch: 1 << 31, Deadline: time.UnixMilli(1 << 52).UTC(),
	}
	for name, want := range map[string]ticket.Ticket{"good": good(), "the longest": longest} {
		text := signer.Ticket(want)
		got, err := signer.Verifier().Ticket(text)
		if err != nil || len(text) > ticket.MaxTicket || !plain(text) {
			t.Errorf("%s: %v: %d bytes %s", name, err, len(text), text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if signer.Ticket(want) != text {
			t.Errorf("%s: signed otherwise the second time", name)
		}
	}
}

// TestTicketsThatAreRefused holds that no other text is a ticket, and why not.
func TestTicketsThatAreRefused(t *testing.T) {
	t.Parallel()
	key, _ := newKeys(t)
	otherKey, _ := newKeys(t)
	signer, other := ticket.NewSigner(key), ticket.NewSigner(otherKey)
	text := signer.Ticket(good())
	parts := strings.Split(text, ".")
	payload := func(change func(lines []string) []string) string {
		raw, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(change(strings.Split(string(raw), "\n")), "\n")))
	}
	set := func(i int, to string) string {
		return parts[0] + "." + payload(func(l []string) []string { l[i] = to; return l }) + "." + parts[2]
	}
	with := func(change func(*ticket.Ticket)) string {
		x := good()
		change(&x)
		return signer.Ticket(x)
	}
	address, err := signer.Address(digest, ticket.Plan{Function: "acme", Step: "a", Input: "input"})
	if err != nil {
		t.Fatal(err)
	}
	query, err := url.ParseQuery(strings.TrimPrefix(address, "/?"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"none":                      {"", ticket.ErrMissing},
		"noise":                     {"hello", ticket.ErrMalformed},
		"cut in the signature":      {text[:len(text)-1], ticket.ErrMalformed},
		"cut in the middle":         {text[:len(text)/2], ticket.ErrMalformed},
		"too long":                  {text + strings.Repeat("A", ticket.MaxTicket), ticket.ErrMalformed},
		"another part":              {text + ".x", ticket.ErrMalformed},
		"white space":               {text + "\n", ticket.ErrMalformed},
		"padding":                   {parts[0] + "." + parts[1] + "." + parts[2] + "==", ticket.ErrMalformed},
		"another tenant":            {set(0, "evil"), ticket.ErrForged},
		"another execution":         {set(1, "ex2"), ticket.ErrForged},
		"another epoch":             {set(5, "4"), ticket.ErrForged},
		"a later deadline":          {set(6, "99999999999999"), ticket.ErrForged},
		"another's key":             {other.Ticket(good()), ticket.ErrUnknownKey},
		"another's key by our name": {parts[0] + other.Ticket(good())[len(parts[0]):], ticket.ErrForged},
		"no key":                    {"." + parts[1] + "." + parts[2], ticket.ErrUnknownKey},
		"an address' signature":     {parts[0] + "." + parts[1] + "." + query.Get("sig"), ticket.ErrForged},
		"no tenant":                 {with(func(x *ticket.Ticket) { x.Tenant = "" }), ticket.ErrMalformed},
		"a tenant that is no label": {with(func(x *ticket.Ticket) { x.Tenant = "a/b" }), ticket.ErrMalformed},
		"a tenant of two lines":     {with(func(x *ticket.Ticket) { x.Tenant = "a\nb" }), ticket.ErrMalformed},
		"an execution with a slash": {with(func(x *ticket.Ticket) { x.Execution = "../a" }), ticket.ErrMalformed},
		"no digest":                 {with(func(x *ticket.Ticket) { x.Pipeline = "docs" }), ticket.ErrMalformed},
		"a negative item":           {with(func(x *ticket.Ticket) { x.Item = -1 }), ticket.ErrMalformed},
		"no deadline":               {with(func(x *ticket.Ticket) { x.Deadline = time.Time{} }), ticket.ErrMalformed},
		"expired":                   {with(func(x *ticket.Ticket) { x.Deadline = time.Now().Add(-time.Millisecond) }), ticket.ErrExpired},
	} {
		got, err := signer.Verifier().Ticket(tc.text)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if (got != ticket.Ticket{}) != errors.Is(tc.want, ticket.ErrExpired) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestATicketExpires(t *testing.T) {
	t.Parallel()
	key, _ := newKeys(t)
	synctest.Test(t, func(t *testing.T) {
		signer := ticket.NewSigner(key)
		text := signer.Ticket(good())
		time.Sleep(time.Hour - time.Millisecond)
		if _, err := signer.Verifier().Ticket(text); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Millisecond)
		if _, err := signer.Verifier().Ticket(text); !errors.Is(err, ticket.ErrExpired) {
			t.Error(err)
		}
	})
}

// TestKeysAreReplaced holds that a verifier of two keys takes what either signed.
func TestKeysAreReplaced(t *testing.T) {
	t.Parallel()
	before, beforePublic := newKeys(t)
	after, afterPublic := newKeys(t)
	trust := ticket.Trust{}
	if err := env.ParseFrom(&trust, map[string]string{"MODELSERVE_PIPELINES_PUBLIC_KEY": beforePublic + afterPublic}); err != nil {
		t.Fatal(err)
	}
	v, err := trust.Verifier(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*sign.Signer{before, after} {
		if _, err := v.Ticket(ticket.NewSigner(key).Ticket(good())); err != nil {
			t.Error(err)
		}
	}
}

// TestTrust holds that keys which are set and cannot be read are never no keys.
func TestTrust(t *testing.T) {
	t.Parallel()
	key, public := newKeys(t)
	file := filepath.Join(t.TempDir(), "pub")
	if err := key.WritePublic(file); err != nil {
		t.Fatal(err)
	}
	const variable, fileVariable = "MODELSERVE_PIPELINES_PUBLIC_KEY", "MODELSERVE_PIPELINES_PUBLIC_KEY_FILE"
	for name, tc := range map[string]struct {
		environment map[string]string
		fault       string
		none        bool
	}{
		"none":          {none: true},
		"by value":      {environment: map[string]string{variable: public}},
		"by file":       {environment: map[string]string{fileVariable: file}},
		"both":          {environment: map[string]string{variable: public, fileVariable: file}, fault: variable},
		"empty":         {environment: map[string]string{variable: ""}, fault: variable},
		"cut short":     {environment: map[string]string{variable: public[:40]}, fault: variable},
		"no such file":  {environment: map[string]string{fileVariable: file + ".no"}, fault: fileVariable},
		"a private one": {environment: map[string]string{variable: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, fault: variable},
	} {
		var trust ticket.Trust
		var v *ticket.Verifier
		err := env.ParseFrom(&trust, tc.environment)
		if err == nil {
			v, err = trust.Verifier(t.Context(), slog.New(slog.DiscardHandler))
		}
		switch {
		case tc.fault != "":
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || (v == nil) != tc.none:
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

func plan() ticket.Plan {
	return ticket.Plan{Function: "text-detect", Step: "detect", Input: `{"image": input} /* <é> */`, TimeoutMS: 30_000}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	key, _ := newKeys(t)
	signer := ticket.NewSigner(key)
	p := plan()
	text, err := signer.Address(digest, p)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := signer.Address(digest, p)
	u, err := url.Parse(text)
	if err != nil || len(text) >= ticket.MaxAddress || u.Path != "/" || again != text || !ticket.HasPlan(u.Query()) {
		t.Fatalf("%v: %d bytes: %s", err, len(text), text)
	}
	hash, of, err := signer.Verifier().Address("text-detect", u.Query())
	want, _ := p.Hash()
	if err != nil || hash != want || of != digest || ticket.PlanHash(u.Query()) != want {
		t.Errorf("%v: %s of %s", err, hash, of)
	}
	canonical, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ticket.ParsePlan(canonical, hash)
	if err != nil || got != p {
		t.Errorf("%v: %+v", err, got)
	}
	if _, err := signer.Address("docs", p); err == nil {
		t.Error("an address of no digest")
	}
}

// TestAddressesThatAreRefused holds that an address is one function's, one pipeline's
// and one plan's.
func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	key, _ := newKeys(t)
	otherKey, _ := newKeys(t)
	signer, other := ticket.NewSigner(key), ticket.NewSigner(otherKey)
	queryOf := func(s *ticket.Signer) url.Values {
		text, err := s.Address(digest, plan())
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query()
	}
	for name, tc := range map[string]struct {
		function string
		change   func(q url.Values)
		want     error
	}{
		"another function":  {"text-orient", func(url.Values) {}, ticket.ErrForged},
		"another pipeline":  {"text-detect", func(q url.Values) { q.Set("pipeline", strings.Repeat("0", 64)) }, ticket.ErrForged},
		"another plan":      {"text-detect", func(q url.Values) { q.Set("plan", strings.Repeat("0", 64)) }, ticket.ErrForged},
		"no plan":           {"text-detect", func(q url.Values) { q.Del("plan") }, ticket.ErrMissing},
		"no pipeline":       {"text-detect", func(q url.Values) { q.Del("pipeline") }, ticket.ErrMissing},
		"no key":            {"text-detect", func(q url.Values) { q.Del("key") }, ticket.ErrMissing},
		"no signature":      {"text-detect", func(q url.Values) { q.Del("sig") }, ticket.ErrMissing},
		"two plans":         {"text-detect", func(q url.Values) { q.Add("plan", "x") }, ticket.ErrMalformed},
		"capitals":          {"text-detect", func(q url.Values) { q.Set("plan", strings.ToUpper(q.Get("plan"))) }, ticket.ErrMalformed},
		"a digest's prefix": {"text-detect", func(q url.Values) { q.Set("pipeline", digest) }, ticket.ErrMalformed},
		"cut":               {"text-detect", func(q url.Values) { q.Set("sig", q.Get("sig")[1:]) }, ticket.ErrMalformed},
		"another key":       {"text-detect", func(q url.Values) { q.Set("key", queryOf(other).Get("key")) }, ticket.ErrUnknownKey},
		"another's":         {"text-detect", func(q url.Values) { q.Set("sig", queryOf(other).Get("sig")) }, ticket.ErrForged},
		"two lines":         {"a\nb", func(url.Values) {}, ticket.ErrMalformed},
	} {
		q := queryOf(signer)
		tc.change(q)
		if hash, of, err := signer.Verifier().Address(tc.function, q); !errors.Is(err, tc.want) || hash != "" || of != "" {
			t.Errorf("%s: %q, %q, %v; want %v", name, hash, of, err, tc.want)
		}
	}
}

// TestPlansThatAreRefused holds the rules of plans, when they are signed and read.
func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(p *ticket.Plan)
		field  string
	}{
		"no function":             {func(p *ticket.Plan) { p.Function = "" }, "function"},
		"a function with a slash": {func(p *ticket.Plan) { p.Function = "a/b" }, "function"},
		"another model":           {func(p *ticket.Plan) { p.Model = "churn" }, "model"},
		"no step":                 {func(p *ticket.Plan) { p.Step = "" }, "step"},
		"a step with a dot":       {func(p *ticket.Plan) { p.Step = "a.b" }, "step"},
		"no input":                {func(p *ticket.Plan) { p.Input = "" }, "input"},
		"a long input":            {func(p *ticket.Plan) { p.Input = strings.Repeat("x", ticket.MaxPlan) }, "input"},
		"a negative time":         {func(p *ticket.Plan) { p.TimeoutMS = -1 }, "timeout_ms"},
		"a long time":             {func(p *ticket.Plan) { p.TimeoutMS = 1 << 40 }, "timeout_ms"},
	} {
		p := plan()
		tc.change(&p)
		_, err := p.Hash()
		var known *problem.Error
		if !errors.As(err, &known) || len(known.Fields) != 1 || known.Fields[0].Field != tc.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"function":"a","input":"input","step":"s","extra":1}`, `{"function":"a","input":"input","step":"s","step":"s"}`,
		`{"function":"a","input":"input", "step":"s"}`, `{"input":"input","function":"a","step":"s"}`, `{"function":"a","input":"input","step":1}`,
	} {
		if p, err := ticket.ParsePlan([]byte(text), envelope.Sum([]byte(text))); err == nil {
			t.Errorf("%s is %+v", text, p)
		}
	}
	text, err := plan().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticket.ParsePlan(text, envelope.Sum([]byte("other"))); err == nil {
		t.Error("a plan by another's hash")
	}
}

// FuzzTicket holds that no text but a signer's is a ticket.
func FuzzTicket(f *testing.F) {
	key, _ := newKeys(f)
	signer := ticket.NewSigner(key)
	verifier := signer.Verifier()
	f.Add(signer.Ticket(good()))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := verifier.Ticket(text)
		if err == nil && signer.Ticket(got) != text {
			t.Errorf("%q is %+v", text, got)
		}
	})
}

// FuzzParsePlan holds that a plan has one text.
func FuzzParsePlan(f *testing.F) {
	text, err := plan().Canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ticket.ParsePlan(text, envelope.Sum(text))
		if err != nil {
			return
		}
		if again, err := p.Canonical(); err != nil || string(again) != string(text) {
			t.Errorf("%v: %s, and then %s", err, text, again)
		}
	})
}
