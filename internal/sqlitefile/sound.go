package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	sqlite3 "modernc.org/sqlite/lib"
)

// Files watches the files of a database that is open. Where one of them is removed or
// replaced, its connections go on with what no later start finds.
type Files struct {
	what   string                 // whose database it is
	opened map[string]os.FileInfo // by path, as they were opened

	mu       sync.Mutex
	replaced error // once one was; it stays
	damaged  error // what SQLite found

	checking sync.Mutex // of one look at the whole file
}

// Watch notes the files of a database that is open; what is whose it is, in errors.
func Watch(path string, opened os.FileInfo, what string) (*Files, error) {
	f := &Files{what: what, opened: map[string]os.FileInfo{path: opened}}
	for _, name := range []string{path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", what, err)
		}
		f.opened[name] = info
	}
	return f, f.InPlace()
}

// InPlace returns an error once a file was removed or replaced. What is read or stored
// after that is of no use, also when the file is put back: connections that were
// opened meanwhile may have another.
func (f *Files) InPlace() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.replaced != nil {
		return f.replaced
	}
	for name, opened := range f.opened {
		now, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.replaced = fmt.Errorf("%s was removed while it was open, so that nothing is stored any more: put it back and start again", name)
		case err != nil:
			return fmt.Errorf("look at %s: %w", f.what, err)
		case !os.SameFile(opened, now):
			f.replaced = fmt.Errorf("%s was replaced while it was open, so that nothing is stored any more: see to it that it is the right one and start again", name)
		}
	}
	return f.replaced
}

// Note returns err, and notes it where it is of a database whose content is damaged.
func (f *Files) Note(err error) error {
	if c := code(err); c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.damaged = err
	}
	return err
}

// Sound returns an error where the file was removed, replaced or damaged, so that an
// operator has to act. A damaged one is looked at anew, all of it: it may have been
// repaired in place. It is read with connections of reader, and writer's are made anew.
func (f *Files) Sound(ctx context.Context, reader, writer *sql.DB) error {
	if err := f.InPlace(); err != nil {
		return err
	}
	f.mu.Lock()
	damaged := f.damaged
	f.mu.Unlock()
	if damaged == nil {
		return nil
	}
	if f.checking.TryLock() {
		defer f.checking.Unlock()
		if f.check(ctx, reader, writer) == nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.damaged = nil
			return nil
		}
	}
	return fmt.Errorf("%s is damaged, restore it from a backup: %w", f.what, damaged)
}

// check reads the whole file with connections that remember nothing of it, and leaves
// no others.
func (f *Files) check(ctx context.Context, reader, writer *sql.DB) error {
	for _, conns := range []*sql.DB{reader, writer} {
		most := conns.Stats().MaxOpenConnections
		conns.SetMaxIdleConns(0)
		conns.SetMaxIdleConns(most)
	}
	var found string
	if err := reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return fmt.Errorf("look at %s: %w", f.what, err)
	}
	if found != "ok" {
		return errors.New(found)
	}
	return nil
}
