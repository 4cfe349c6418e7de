package problem

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

// elsewhere stands in a text for an address that was there.
const elsewhere = "…"

//nolint:gochecknoglobals // compiled once, and constant
var (
	// A quoted path may have anything in it; one that is not may have a space where
	// what follows is a folder still.
	quotedPath = regexp.MustCompile("\"(?:file://)?/[^\"\n]*\"|'(?:file://)?/[^'\n]*'|`(?:file://)?/[^`\n]*`")
	barePath   = regexp.MustCompile("(^|[^\\w./\\-])((?:file://)?/" + element + "[^\\s\"'`()\\[\\]{}<>,;:|]*(?: " + element + "+/[^\\s\"'`()\\[\\]{}<>,;:|]*)*)")
	webAddress = regexp.MustCompile("https?://[^\\s\"'`<>]+[^\\s\"'`<>.,:;)]")
	hostPort   = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}\b|\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%\w+)?\]:\d{1,5}\b`)
)

// element is what a path's element begins with, where it is not quoted.
const element = "[^\\s\"'`()\\[\\]{}<>,;:|/]"

// Redact is a text about this server as callers may read it: of each absolute path
// only the last element is left, and of network addresses nothing.
func Redact(text string) string {
	if !strings.ContainsAny(text, "/[") && strings.Count(text, ".") < 3 {
		return text // as nearly all are
	}
	text = webAddress.ReplaceAllString(text, elsewhere)
	text = hostPort.ReplaceAllString(text, elsewhere)
	text = quotedPath.ReplaceAllStringFunc(text, func(quoted string) string {
		quote := quoted[:1]
		return quote + lastElement(quoted[1:len(quoted)-1]) + quote
	})
	return barePath.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Index(found, "/")
		if file := strings.Index(found, "file://"); file >= 0 {
			at = file
		}
		return found[:at] + lastElement(found[at:])
	})
}

// lastElement is a path's, or nothing of the root's.
func lastElement(p string) string {
	last := path.Base(strings.TrimPrefix(p, "file:"))
	if last == "/" || last == "." {
		return elsewhere
	}
	return last
}

// Reason is the text of an error as callers may read it: redacted (Redact),
// with the paths that the system's errors name known exactly.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	return redactKnown(err.Error(), err)
}

func redactKnown(text string, errs ...error) string {
	var known []string
	for _, err := range errs {
		known = append(known, paths(err)...)
	}
	// The longest first: one may begin with another.
	slices.SortFunc(known, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, p := range known {
		text = strings.ReplaceAll(text, p, lastElement(p))
	}
	return Redact(text)
}

// paths are the absolute ones that the system's errors in err's tree are about.
func paths(err error) []string {
	var found []string
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case nil:
		return nil
	case *fs.PathError:
		found = append(found, e.Path)
	case *os.LinkError:
		found = append(found, e.Old, e.New)
	case *exec.Error:
		found = append(found, e.Name)
	}
	found = slices.DeleteFunc(found, func(p string) bool { return !path.IsAbs(p) || path.Base(p) == "/" })
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = append(found, paths(inner)...)
		}
	default:
		found = append(found, paths(errors.Unwrap(err))...)
	}
	return found
}

// ForLog keeps an error for the log, and its text from callers.
func ForLog(err error) error { return forLog{err} }

type forLog struct{ cause error }

// Error stands in for the cause's text.
func (forLog) Error() string { return "the log has the reason" }

// Unwrap returns what the log has.
func (e forLog) Unwrap() error { return e.cause }
