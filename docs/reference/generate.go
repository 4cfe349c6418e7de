// Package reference is the folder of the generated reference pages: it has no
// code of its own.
package reference

//go:generate go run ../../cmd/modelserve/internal/reference ../..
