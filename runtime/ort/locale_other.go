//go:build !linux

package ort

// takeLocale has nothing to do: these systems have the locale that text models
// ask for, and are no servers.
func takeLocale() error { return nil }
