package definition

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of labels, in bytes.
const (
	maxLabelKey   = 63
	maxLabelValue = 255
)

// CheckLabel holds a label to what every label is held to, of a pipeline, of a start and
// of a filter: stores keep KEY=VALUE, so a key has no =, and none of both a NUL.
func CheckLabel(key, value string) error {
	switch {
	case key == "" || len(key) > maxLabelKey || strings.ContainsFunc(key, notOfKey):
		return fmt.Errorf("expected KEY=VALUE with a key of 1 to %d letters, digits and -_./", maxLabelKey)
	case len(value) > maxLabelValue || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("expected a value of at most %d bytes, in UTF-8 and without control characters", maxLabelValue)
	}
	return nil
}

func notOfKey(r rune) bool {
	return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
}
