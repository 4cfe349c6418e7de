package cache

import (
	"errors"
	"fmt"
	"syscall"
)

// diskError puts "disk full" at the head of the error of a full disk; the system's
// own text has it after the paths.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("disk full: %w", err)
	}
	return err
}

// isDiskError reports whether the cache's disk is why a file could not be stored,
// and not S3, the file, or the bound that the cache was given.
func isDiskError(err error) bool {
	for _, reason := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES, syscall.EPERM, syscall.EIO,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}
