package auth

import (
	"strings"
	"unicode"
)

// maxText bounds an issuer's name and a subject, in bytes: OpenID Connect's bound of a
// subject.
const maxText = 255

// IsName reports whether s is text that a token may be compared with, and that a space
// ends, as an issuer's name is: 1 to 255 bytes.
func IsName(s string) bool {
	return s != "" && len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// IsSub reports whether a token's `sub` is a subject here: 1 to 255 printable bytes.
func IsSub(s string) bool {
	return s != "" && len(s) <= maxText && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// IsSubject reports whether a token may be of somebody: "<issuer> <subject>".
func IsSubject(named string) bool {
	issuer, sub, ok := strings.Cut(named, " ")
	return ok && IsName(issuer) && IsSub(sub)
}
