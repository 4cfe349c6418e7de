package model

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// PolicyFile is the name of the object that holds a model's policy, beside its
// versions.
const PolicyFile = "policy.json"

// Bounds on policy.json.
const (
	MaxPolicy     = 64 << 10 // bytes
	maxGeneration = 1 << 53  // what every reader of JSON can hold
)

// policyObject is policy.json: a policy, and the signatures of its bytes as
// they stand there. Both are in one object, so that one conditional write
// replaces both.
type policyObject struct {
	Policy     jsontext.Value `json:"policy"`
	Signatures []string       `json:"signatures,omitempty"`
}

// PolicyState is one state of a model's policy, which is what is signed. It names
// its model, so that it is no other's, and its generation, so that an older one is
// known for that.
type PolicyState struct {
	Schema     int    `json:"schema"` // 1
	Name       string `json:"name"`
	Generation int64  `json:"generation"` // rises with each change; about the time of it, in ms since 1970

	Policy
}

// SignedPolicy is a policy.json that was read.
type SignedPolicy struct {
	PolicyState

	Signed     []byte // what the signatures are of
	Signatures []byte // one line of base64 each, as sign.Verifier reads them; empty where unsigned
}

// ParsePolicy reads the policy.json of a model. It is as strict as ParseManifest,
// and does not look at the signatures.
func ParsePolicy(name string, data []byte) (*SignedPolicy, error) {
	var p SignedPolicy
	var object policyObject
	err := json.Unmarshal(data, &object, json.RejectUnknownMembers(true))
	if err == nil {
		err = json.Unmarshal(object.Policy, &p.PolicyState, json.RejectUnknownMembers(true))
	}
	if err == nil {
		err = p.check(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", PolicyFile, err)
	}
	p.Signed = object.Policy
	p.Signatures = []byte(strings.Join(object.Signatures, "\n"))
	return &p, nil
}

// check returns every rule that a state of the policy of name breaks.
func (p *PolicyState) check(name string) error {
	var c Checker
	c.Require(p.Schema == Schema, "schema", "expected %d, got %d", Schema, p.Schema)
	c.Require(p.Name == name, "name", "expected %q, got %.100q", name, p.Name)
	c.Require(p.Generation > 0 && p.Generation < maxGeneration, "generation", "expected 1 to %d, got %d", int64(maxGeneration), p.Generation)
	return errors.Join(c.Err(), p.Check())
}

// Marshal writes policy.json with the signature that sign makes of the state's
// bytes; a nil sign leaves it unsigned.
func (p *PolicyState) Marshal(sign func([]byte) []byte) ([]byte, error) {
	signed, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", PolicyFile, err)
	}
	object := policyObject{Policy: signed}
	if sign != nil {
		object.Signatures = []string{strings.TrimSpace(string(sign(signed)))}
	}
	data, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", PolicyFile, err)
	}
	return append(data, '\n'), nil
}
