package keyvalue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/modelserveai/modelserve/internal/regular"
)

// version is that of the file's form, and maxFile its size at most, in bytes.
const (
	version = 1
	maxFile = 256 << 20
)

// file is what is kept.
type file struct {
	Version int     `json:"version"`
	Strings []entry `json:"strings"`
}

// entry is a string. Keys and values are any bytes, which JSON has in base64.
type entry struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	Ends  int64  `json:"ends_ms,omitempty"` // milliseconds since 1970; 0 is never
}

// load reads what was kept and has not ended.
func (s *Store) load(at time.Time) error {
	text, err := regular.Read(s.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	f, err := decode(text)
	if err != nil {
		aside := s.path + ".damaged"
		if err := os.Rename(s.path, aside); err != nil {
			return fmt.Errorf("set aside: %w", err)
		}
		s.logger.Warn("what the local Redis kept is damaged, and was set aside: counts begin anew", "file", aside, "error", err)
		return nil
	}
	db := s.redis.DB(0)
	for _, e := range f.Strings {
		left := time.UnixMilli(e.Ends).Sub(at)
		if e.Ends != 0 && left <= 0 {
			continue
		}
		if err := db.Set(string(e.Key), string(e.Value)); err != nil {
			return fmt.Errorf("set %q: %w", e.Key, err)
		}
		if e.Ends != 0 {
			db.SetTTL(string(e.Key), left)
		}
	}
	return nil
}

func decode(text []byte) (*file, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err //nolint:wrapcheck // the caller says of what
	}
	if f.Version != version {
		return nil, fmt.Errorf("expected version %d, got %d", version, f.Version)
	}
	return &f, nil
}

// save replaces what is kept by what there is. It is not of one instant: what a script
// writes meanwhile may be there in part.
func (s *Store) save(at time.Time) error {
	db := s.redis.DB(0)
	keys := db.Keys()
	f := file{Version: version, Strings: make([]entry, 0, len(keys))}
	for _, key := range keys {
		value, err := db.Get(key)
		if err != nil {
			continue // it has ended, or is no string
		}
		e := entry{Key: []byte(key), Value: []byte(value)}
		if left := db.TTL(key); left > 0 {
			e.Ends = at.Add(left).UnixMilli()
		}
		f.Strings = append(f.Strings, e)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%d bytes are more than the %d that are kept", len(text), maxFile)
	}
	return regular.Replace(s.path, text, 0o600) //nolint:wrapcheck // it names the file
}
