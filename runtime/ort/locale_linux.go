package ort

/*
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

// ms_locale has the C library load two locales from dir and keep them for as
// long as the process lives: what it has loaded from a place it does not look
// for there again. 0, or errno of the one that it does not take; then nothing of
// the environment has changed.
static int ms_locale(const char *dir, const char *name, const char *other) {
  const char *now = getenv("LOCPATH");
  char *before = now ? strdup(now) : NULL;
  if (!now || strcmp(now, dir) != 0) setenv("LOCPATH", dir, 1);
  locale_t first = newlocale(LC_ALL_MASK, name, (locale_t)0);
  locale_t second = first ? newlocale(LC_ALL_MASK, other, (locale_t)0) : (locale_t)0;
  int fault = second ? 0 : errno ? errno : EINVAL;
  if (fault) {
    if (first) freelocale(first);
    if (before) setenv("LOCPATH", before, 1);
    else unsetenv("LOCPATH");
  } else {
    const char *language = getenv("LC_ALL");
    if (!language || strcmp(language, name) != 0) setenv("LC_ALL", name, 1);
  }
  free(before);
  return fault;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"github.com/modelserveai/modelserve/internal/locale"
)

// takeLocale has this process run text models in the locale that every server
// has (package locale), whatever is installed on this machine and whatever
// language is set for its user: a model that names none, or "", or one that only
// this machine has, does here what it does there. Where the C library does not
// take it, the machine's own locales stay, and the error is the reason.
//
// It sets LOCPATH and LC_ALL in C's environment alone, where glibc reads them
// each time: children that Go starts get neither.
var takeLocale = sync.OnceValue(func() error { return loadLocale(locale.Dir, os.TempDir(), "/dev/shm") })

// loadLocale loads the locale from the folder in which images have it, else from
// one below the first of temporary that takes it, which is gone when it returns.
func loadLocale(image string, temporary ...string) error {
	if _, err := os.Stat(image); err == nil {
		if err := loadLocaleFrom(image); err == nil {
			return nil
		}
	}
	var faults []error
	for _, parent := range temporary {
		err := writeAndLoadLocale(parent)
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return fmt.Errorf("text models have the locales of this machine, which need not be those of servers (%s): %w", locale.Name, errors.Join(faults...))
}

func writeAndLoadLocale(parent string) error {
	dir, err := os.MkdirTemp(parent, "modelserve-locale-")
	if err != nil {
		return err
	}
	if err = locale.Write(dir); err == nil {
		err = loadLocaleFrom(dir)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func loadLocaleFrom(dir string) error {
	path, name, other := C.CString(dir), C.CString(locale.Names()[0]), C.CString(locale.Names()[1])
	defer C.free(unsafe.Pointer(path))
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(other))
	if fault := C.ms_locale(path, name, other); fault != 0 {
		return fmt.Errorf("the C library does not take it: %w", syscall.Errno(fault))
	}
	return nil
}
