package cache

import (
	"os"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// Local is a version on this node's disk, verified. Its files stay until
// Release: a session that has them open or mapped needs them no longer.
type Local struct {
	Manifest model.Manifest
	Digest   string // "sha256:…" of model.json's bytes
	Path     string // the file to load, which is the one that was verified, whatever has its name
	Place    string // where that was, for a log
	ORT      bool   // Path is an .ort that fits this library and CPU
	Timing   Timing

	leases  []*lease
	release func()
}

// Suspect makes the next Fetch hash the files again: they did not load, though
// they look as they did when they were verified.
func (l *Local) Suspect() {
	for _, lease := range l.leases {
		// Without a stamp a file is hashed before it is used. One that cannot
		// be removed is in a cache that this process does not write to.
		_ = os.Remove(lease.path + ".ok")
	}
}

// Release lets the cache evict the files. Releasing twice is safe.
func (l *Local) Release() {
	if l.release != nil {
		l.release()
	}
}

// Timing is where fetching a version went. Hashing and the signature overlap the
// download; Verify is only what was left of both once the last byte was there.
type Timing struct {
	Fetch, Verify time.Duration
	Target        time.Duration // waited for what this node is, which is in neither
	Bytes         int64         // read from S3; 0 when the cache had it all
}
