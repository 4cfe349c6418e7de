//go:build tools

// Package registry pins the image registry, which keeps all on disk.
package registry

import _ "github.com/distribution/distribution/v3/cmd/registry"
