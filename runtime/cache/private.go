package cache

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// notPrivate is why somebody else than this user may have written a file, or may
// write it yet.
type notPrivate struct{ reason string }

func (e notPrivate) Error() string { return e.reason }

// private returns notPrivate unless a file or folder belongs to a user, and nobody
// else may write to it. The group's bits of one with an ACL are its mask.
func private(info fs.FileInfo, user int) error {
	is, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return notPrivate{"nothing shows whose it is"}
	case int(is.Uid) != user:
		return notPrivate{fmt.Sprintf("it belongs to user %d, and this process is user %d", is.Uid, user)}
	case info.Mode().Perm()&0o022 != 0:
		return notPrivate{fmt.Sprintf("others than its owner may write to it (%v)", info.Mode())}
	}
	return nil
}

// folder is the folder for a user's cache in dir: that itself where it is theirs
// alone, or is not there yet. A folder that others may write to, as a volume's root
// is and the system's temporary one, has one for each user in it, which all
// processes of that user share.
func folder(dir string, user int) string {
	if to, err := filepath.EvalSymlinks(dir); err == nil {
		dir = to // a link is its owner's decision; what is at its end counts
	}
	info, err := os.Stat(dir)
	if err != nil || private(info, user) == nil {
		return dir // what is wrong with it, making it shows
	}
	return filepath.Join(dir, fmt.Sprintf("user-%d", user))
}

// makePrivate makes a folder that nobody else may write to, and refuses one that
// another user made. The user's own is closed where it was open: what is in it shows
// by itself whether it is private.
func makePrivate(dir string, user int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return diskError(err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return diskError(err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: expected a folder, got %v", dir, info.Mode())
	}
	if is, ok := info.Sys().(*syscall.Stat_t); ok && int(is.Uid) == user && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, info.Mode().Perm()&0o700); err != nil {
			return diskError(err)
		}
		if info, err = os.Lstat(dir); err != nil {
			return diskError(err)
		}
	}
	if err := private(info, user); err != nil {
		return fmt.Errorf("%s: %w; expected a folder of this user's alone, for whoever may write there decides what runs: name another one, or none", dir, err)
	}
	return nil
}
