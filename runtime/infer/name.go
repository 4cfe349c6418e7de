package infer

import (
	"math"
	"strconv"
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// maxName is the longest DNS label (RFC 1035), and so the longest model name.
const maxName = 63

// ParseName checks a model's name, which is a DNS label: 1 to 63 of a-z, 0-9
// and "-", with a letter or digit first and last. Names become parts of host
// names, paths and S3 keys, so nothing else is ever let through.
func ParseName(s string) (string, error) {
	ok := s != "" && len(s) <= maxName && s[0] != '-' && s[len(s)-1] != '-'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return "", problem.Invalid("model_name",
			"expected 1 to %d of a-z, 0-9 and '-', a letter or digit first and last; got %s", maxName, quote(s))
	}
	return s, nil
}

// NewName checks the name of a model that is about to be published: ParseName,
// and no name that has another meaning in a URL of the protocol
// (GET /v2/models/stats returns the statistics of all).
func NewName(s string) (string, error) {
	if s == reservedName {
		return "", problem.Invalid("model_name", "%s is reserved, as /v2/models/%s is a URL of the protocol; expected another name", quote(s), s)
	}
	return ParseName(s)
}

// reservedName is the one that the protocol has.
const reservedName = "stats"

// MaxVersion is the highest version of a model: what a signed integer of 32
// bits holds, so that every client can keep it.
const MaxVersion = math.MaxInt32

// ParseVersion reads a model's version, 1 to MaxVersion in decimal without sign
// or leading zero. The empty string is no version: callers for whom it means
// the newest must look for it first.
func ParseVersion(s string) (int, error) {
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 || v > MaxVersion || s[0] < '1' || s[0] > '9' {
		return 0, problem.Invalid("model_version", "expected a positive integer up to %d; got %s", MaxVersion, quote(s))
	}
	return v, nil
}

// CheckVersion checks a version as a call may name it: by its number, or by an
// alias such as "stable", which is a DNS label that is no number. field is what
// an error names.
func CheckVersion(field, s string) error {
	var err error
	if IsNumber(s) {
		_, err = ParseVersion(s)
	} else {
		_, err = ParseName(s)
	}
	if err != nil {
		return problem.Invalid(field, "expected a positive integer up to %d, or an alias such as \"stable\" (1 to %d of a-z, 0-9 and '-')", MaxVersion, maxName)
	}
	return nil
}

// VersionHeader is the header (in gRPC, the metadata) that names the version an
// inference is for, a number or an alias, where its URL or message does not.
const VersionHeader = "X-Model-Version"

// VersionOf is the version an inference is for: as its URL or message names it,
// else as the values of its VersionHeader do. Both may, when they agree; named
// is checked by CheckVersion, not here.
func VersionOf(named string, header []string) (string, error) {
	switch len(header) {
	case 0:
		return named, nil
	case 1:
	default:
		return "", twice(VersionHeader, header)
	}
	if err := CheckVersion(VersionHeader, header[0]); err != nil {
		return "", err
	}
	if named != "" && named != header[0] {
		return "", problem.Invalid(VersionHeader, "the request is for version %s already, and this names another", quote(named))
	}
	return header[0], nil
}

// IsNumber reports whether s is digits alone, which no alias is.
func IsNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// quote quotes what a client sent, cut to a length fit for an error.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
