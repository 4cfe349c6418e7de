//go:build !linux

package nice

// lower does nothing where a thread has no priority of its own.
func lower() {}
