// Package rights keeps what is stored of keys, roles and grants in memory, at most
// half a second old, and has changes of it stored.
//
// What is stored is the truth; what is here is a copy that each replica has, so that
// calls are let in without asking the database, also for a while when it is away.
// What follows from it for anybody is package access's to decide.
package rights

import (
	"context"
	"errors"
	"time"

	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
)

// Position is a place in the history of what is stored. Each change makes the next
// one, with a random mark: a database that has lost changes, and made others since,
// has another mark there.
type Position struct {
	Number int64
	Mark   string
}

// Update is what has changed since a position, as of one moment.
type Update struct {
	Position Position // the newest

	// Whole is whether the tenants are all that there are: for the zero Position,
	// and for one that the history does not have.
	Whole   bool
	Tenants map[string]*access.Tenant // those that changed, whole
}

// Stored is what is to be stored in one transaction.
type Stored struct {
	Change  access.Change
	Entries []audit.Entry // into the chain of their Tenant; Seq, Previous and Hash are the store's to set
}

// Use is that a key was used.
type Use struct {
	Key  string
	At   time.Time  // the zero time is not to be noted
	Hash *auth.Hash // takes the place of the key's; nil does not
}

// ErrAway is of a database that is away, busy, or too slow: what failed may be good a
// moment later. Stores say so of what is read of keys, roles, grants and the audit log.
var ErrAway = errors.New("the gateway's database does not answer")

// Store is the database. Package storetest holds what each one does.
type Store interface {
	// Since reads what changed since a position, from the primary.
	Since(ctx context.Context, p Position) (*Update, error)

	// Commit stores what decide returns, with entries in their chains, and makes the
	// next position. decide gets what changed since p, and nothing changes until it
	// is stored: changes wait for each other. decide's error undoes all, and is
	// returned as it is.
	Commit(ctx context.Context, p Position, decide func(*Update) (*Stored, error)) (Position, error)

	// Used notes uses of keys, which are no change of what may be done.
	Used(ctx context.Context, uses []Use) error
}
