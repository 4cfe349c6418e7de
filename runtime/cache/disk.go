package cache

import (
	"errors"
	"fmt"
	"syscall"
)

// onDisk says so when a disk is full; the system's own words hide it among
// paths.
func onDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("disk full: %w", err)
	}
	return err
}

// diskTrouble reports whether the cache's disk is why a file could not be kept,
// and not S3, the file, or the bound that the cache was given.
func diskTrouble(err error) bool {
	for _, reason := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}
