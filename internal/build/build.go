// Package build reports which build of the module this process is. It is not for
// the versions of models or of what is linked in.
package build

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Info is a build.
type Info struct {
	// Version is the module's as Go stamps it: a tag, a pseudo-version that holds
	// the commit, or "devel" where it was built without version control.
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // the commit's first 12 digits; "" is not known
	Modified bool   `json:"modified"`           // from a working tree with changes
	Go       string `json:"go"`                 // the toolchain, "go1.26.0"
	Platform string `json:"platform"`           // "linux/amd64"
}

// Read is this process's build.
func Read() Info {
	stamped, ok := debug.ReadBuildInfo()
	if !ok {
		stamped = &debug.BuildInfo{}
	}
	return of(stamped)
}

// Version is that of Read.
func Version() string { return Read().Version }

func of(stamped *debug.BuildInfo) Info {
	b := Info{
		Version: strings.Trim(stamped.Main.Version, "()"),
		Go:      runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	for _, s := range stamped.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
