package postgresql

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// answerTimeout is how long the server may say nothing while it is waited for, longer
// than a statement may take. A machine that hangs keeps connections open, and ends no
// statement.
const answerTimeout = 5 * time.Second

// Patient has the connections of a dialer end their reads: one that hears nothing for
// five seconds, while it waits, is broken.
func Patient(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patientConn{Conn: conn}, nil
	}
}

// patientConn bounds each read where its user does not. pgx reads only what it waits
// for, and ends a read by a deadline.
type patientConn struct {
	net.Conn

	mu      sync.Mutex
	bounded bool // by the user
}

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if !c.bounded {
		_ = c.Conn.SetReadDeadline(time.Now().Add(answerTimeout)) // a closed one says so below
	}
	c.mu.Unlock()
	return c.Conn.Read(b)
}

// SetDeadline implements net.Conn.
func (c *patientConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounded = !t.IsZero()
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *patientConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounded = !t.IsZero()
	return c.Conn.SetReadDeadline(t)
}
