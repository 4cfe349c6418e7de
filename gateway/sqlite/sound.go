package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// files watches the files that a Store has open. Where one of them is removed or
// replaced, its connections go on with what no later start finds.
type files struct {
	opened map[string]os.FileInfo // by path, as they were opened

	mu       sync.Mutex
	replaced error // once one was; it stays
	damaged  error // what SQLite found

	checking sync.Mutex // of one look at the whole file
}

// watch notes the files of a database that is open.
func watch(path string, opened os.FileInfo) (*files, error) {
	f := &files{opened: map[string]os.FileInfo{path: opened}}
	for _, name := range []string{path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("look at the gateway's database: %w", err)
		}
		f.opened[name] = info
	}
	return f, f.inPlace()
}

// inPlace returns an error once a file was removed or replaced. What is read or stored
// after that is of no use, also when the file is put back: connections that were
// opened meanwhile may have another.
func (f *files) inPlace() error {
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
			return fmt.Errorf("look at the gateway's database: %w", err)
		case !os.SameFile(opened, now):
			f.replaced = fmt.Errorf("%s was replaced while it was open, so that nothing is stored any more: see to it that it is the right one and start again", name)
		}
	}
	return f.replaced
}

// note returns err, and notes it where it is of a database whose content is damaged.
func (f *files) note(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.damaged = err
	}
	return err
}

// Sound returns an error where the file was removed, replaced or damaged, so that an
// operator has to act. A damaged one is looked at anew, all of it: it may have been
// repaired in place.
func (s *Store) Sound(ctx context.Context) error {
	if err := s.files.inPlace(); err != nil {
		return err
	}
	s.files.mu.Lock()
	damaged := s.files.damaged
	s.files.mu.Unlock()
	if damaged == nil {
		return nil
	}
	if s.files.checking.TryLock() {
		defer s.files.checking.Unlock()
		if s.check(ctx) == nil {
			s.files.mu.Lock()
			defer s.files.mu.Unlock()
			s.files.damaged = nil
			return nil
		}
	}
	return fmt.Errorf("the gateway's database is damaged, restore it from a backup: %w", damaged)
}

// check reads the whole file with connections that remember nothing of it, and leaves
// no others.
func (s *Store) check(ctx context.Context) error {
	for _, conns := range []*sql.DB{s.reader, s.writer} {
		most := conns.Stats().MaxOpenConnections
		conns.SetMaxIdleConns(0)
		conns.SetMaxIdleConns(most)
	}
	var found string
	if err := s.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return fmt.Errorf("look at the gateway's database: %w", err)
	}
	if found != "ok" {
		return errors.New(found)
	}
	return nil
}
