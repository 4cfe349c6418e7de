//go:build tools

// Package kn pins Knative's command line.
package kn

import _ "knative.dev/client/cmd/kn"
