//go:build tools

// Package ko pins what makes images of Go programs.
package ko

import _ "github.com/google/ko"
