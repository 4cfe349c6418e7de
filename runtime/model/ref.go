package model

import (
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Ref names one version of a model.
type Ref struct {
	Name    string // a DNS label
	Version int    // 1 to infer.MaxVersion; 0 is none
}

// String is "name@version", or the name alone where there is no version.
func (r Ref) String() string {
	if r.Version == 0 {
		return r.Name
	}
	return r.Name + "@" + strconv.Itoa(r.Version)
}

// Check returns a problem that names the part which breaks a rule: model_name or
// model_version. A ref without a version breaks one.
func (r Ref) Check() error {
	if _, err := infer.ParseName(r.Name); err != nil {
		return err
	}
	if r.Version < 1 || r.Version > infer.MaxVersion {
		return problem.Invalid("model_version", "expected an integer from 1 to %d; got %d", infer.MaxVersion, r.Version)
	}
	return nil
}

// ParseRef reads "name" or "name@version". Its error is a problem that names the
// part which is wrong: model_name or model_version.
func ParseRef(text string) (Ref, error) {
	name, number, versioned := strings.Cut(text, "@")
	if _, err := infer.ParseName(name); err != nil {
		return Ref{}, err
	}
	if !versioned {
		return Ref{Name: name}, nil
	}
	version, err := infer.ParseVersion(number)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Name: name, Version: version}, nil
}

// ParsePinned is ParseRef where a version must be named: "name@version".
func ParsePinned(text string) (Ref, error) {
	ref, err := ParseRef(text)
	if err == nil && ref.Version == 0 {
		return Ref{}, problem.Invalid("model_version", "expected %s@version, got no version", text)
	}
	return ref, err
}
