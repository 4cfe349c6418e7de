// Package ticket signs and verifies what a pipeline's events are trusted by: tickets,
// which say for which tenant and execution an event is and until when, and the
// addresses of steps, which say what a function does with it. Both are signed with
// Ed25519 (RFC 8032) by the pipelines service; functions, taps and sinks verify them.
//
// It keeps nothing and reads no files: the keys are runtime/sign's. A ticket is no
// secret of its tenant, but whoever has one may have its steps run until it expires.
package ticket

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// MaxTicket is the most bytes of a ticket's text.
const MaxTicket = 640

// Ticket is what the events of a segment's run are trusted with.
type Ticket struct {
	Tenant    string // a DNS label
	Execution string // its id
	Pipeline  string // digest of the definition, sha256:…
	Segment   int    // of the definition's plan, from 0
	Item      int    // of a forEach, from 0; 0 outside one
	Epoch     int    // of the send; only answers of the newest count
	Deadline  time.Time
}

// The reasons why a ticket or an address is refused.
var (
	// ErrMissing is of an event or URL without one.
	ErrMissing = errors.New("missing")
	// ErrMalformed is of a text that no signer wrote: cut short, too long, or changed.
	ErrMalformed = errors.New("malformed")
	// ErrUnknownKey is of one that a key signed which is not trusted here.
	ErrUnknownKey = errors.New("signed with a key that is not trusted here")
	// ErrForged is of one whose signature is not of what it says.
	ErrForged = errors.New("signature wrong")
	// ErrExpired is of a ticket whose deadline has passed.
	ErrExpired = errors.New("expired")
)

// The first lines of what is signed, so that no signature of one kind is one of another.
const (
	ticketDomain  = "modelserve pipelines ticket v1"
	addressDomain = "modelserve pipelines address v1"
)

// Signer signs tickets and addresses.
type Signer struct {
	signer *sign.Signer
	key    string // its id
}

// NewSigner makes a Signer of a private key.
func NewSigner(key *sign.Signer) *Signer { return &Signer{signer: key, key: sign.KeyID(key.Public())} }

// Verifier accepts what one of its keys signed.
type Verifier struct{ keys map[string]ed25519.PublicKey }

// NewVerifier makes a Verifier of public keys; there are several while one is replaced.
func NewVerifier(keys *sign.Verifier) *Verifier {
	v := &Verifier{keys: map[string]ed25519.PublicKey{}}
	for _, key := range keys.Keys() {
		v.keys[sign.KeyID(key)] = key
	}
	return v
}

// sign is the signature of a text, in base64url.
func (s *Signer) sign(text string) string {
	signature := strings.TrimSpace(string(s.signer.Sign([]byte(text))))
	return strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(signature), "=")
}

// verify checks a signature of a text.
func (v *Verifier) verify(key, text, signature string) error {
	public, ok := v.keys[key]
	if !ok {
		return ErrUnknownKey
	}
	raw, err := decode(signature)
	if err != nil || len(raw) != ed25519.SignatureSize {
		return ErrMalformed
	}
	if !ed25519.Verify(public, []byte(text), raw) {
		return ErrForged
	}
	return nil
}

// decode decodes base64url that is written in the one way that there is.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the package passes over
		return nil, ErrMalformed
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// signed is the canonical text of a ticket, which is what is signed.
func (t Ticket) signed() string {
	return strings.Join([]string{
		ticketDomain, t.Tenant, t.Execution, t.Pipeline, strconv.Itoa(t.Segment), strconv.Itoa(t.Item), strconv.Itoa(t.Epoch),
		strconv.FormatInt(t.Deadline.UnixMilli(), 10),
	}, "\n")
}

// check holds a ticket to its rules.
func (t Ticket) check() error {
	switch {
	case !envelope.IsTenant(t.Tenant):
		return errors.New("tenant: expected a DNS label")
	case !envelope.IsExecution(t.Execution):
		return errors.New("execution: expected an id of 1 to 64 letters, digits, '-' and '_'")
	case !isDigest(t.Pipeline):
		return errors.New("pipeline: expected a digest, sha256:…")
	case t.Segment < 0 || t.Item < 0 || t.Epoch < 0:
		return errors.New("segment, item, epoch: expected 0 or more")
	case t.Deadline.UnixMilli() <= 0:
		return errors.New("deadline: expected a time")
	default:
		return nil
	}
}

// Ticket is the text of a ticket, for the extension of its name: at most MaxTicket
// bytes of letters, digits, '-', '_' and '.'. The deadline is kept to the millisecond.
// A ticket that breaks a rule, such as one of a tenant that is no DNS label, is a fault
// of the program: no Verifier accepts it.
func (s *Signer) Ticket(t Ticket) string {
	text := t.signed()
	payload := base64.RawURLEncoding.EncodeToString([]byte(strings.TrimPrefix(text, ticketDomain+"\n")))
	return s.key + "." + payload + "." + s.sign(text)
}

// Ticket verifies a ticket's text. Its error is ErrMissing, ErrMalformed,
// ErrUnknownKey, ErrForged or ErrExpired. One that is good but for its deadline is
// returned beside ErrExpired, for whoever records what came late.
func (v *Verifier) Ticket(text string) (Ticket, error) {
	if text == "" {
		return Ticket{}, fmt.Errorf("ticket: %w", ErrMissing)
	}
	t, err := v.ticket(text)
	if err != nil {
		return t, fmt.Errorf("ticket: %w", err)
	}
	return t, nil
}

func (v *Verifier) ticket(text string) (Ticket, error) {
	parts := strings.Split(text, ".")
	if len(text) > MaxTicket || len(parts) != 3 {
		return Ticket{}, ErrMalformed
	}
	payload, err := decode(parts[1])
	if err != nil {
		return Ticket{}, ErrMalformed
	}
	if err := v.verify(parts[0], ticketDomain+"\n"+string(payload), parts[2]); err != nil {
		return Ticket{}, err
	}
	t, ok := parseTicket(strings.Split(string(payload), "\n"))
	if !ok || t.check() != nil || t.signed() != ticketDomain+"\n"+string(payload) {
		return Ticket{}, ErrMalformed
	}
	if !time.Now().Before(t.Deadline) {
		return t, ErrExpired
	}
	return t, nil
}

// parseTicket takes the lines of a ticket apart.
func parseTicket(lines []string) (Ticket, bool) {
	if len(lines) != 7 {
		return Ticket{}, false
	}
	t := Ticket{Tenant: lines[0], Execution: lines[1], Pipeline: lines[2]}
	for i, field := range []*int{&t.Segment, &t.Item, &t.Epoch} {
		n, err := strconv.Atoi(lines[3+i])
		if err != nil {
			return Ticket{}, false
		}
		*field = n
	}
	ms, err := strconv.ParseInt(lines[6], 10, 64)
	t.Deadline = time.UnixMilli(ms).UTC()
	return t, err == nil
}
