//go:build unix && !linux

package instance

// isOurs reports whose sockets listen on a port where that is known, which is on
// Linux alone: elsewhere they are taken for this user's.
func isOurs(int) error { return nil }
