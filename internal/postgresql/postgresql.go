// Package postgresql opens PostgreSQL databases that several replicas of a program
// share: which server of several is the one to write to, how long is waited for one
// that says nothing, what a session may take, and how schemas are brought up to date.
//
// It knows no table. Packages with tables of their own use it: gateway/postgres and
// pipelines/postgres.
package postgresql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	maxConnections = 8
	connectTimeout = 2 * time.Second
	healthPeriod   = 5 * time.Second
)

// limits are those of a session, in milliseconds.
func limits() map[string]string {
	return map[string]string{"statement_timeout": "2000", "lock_timeout": "1000", "idle_in_transaction_session_timeout": "5000"}
}

// Parse reads a database's URL. Of several hosts the one is taken that can be written
// to, where the URL's target_session_attrs does not say otherwise; what else it says of
// pools and sessions holds as well. what is whose database it is, application what
// the server calls its sessions. No error repeats the URL.
func Parse(url, what, application string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil || strings.Contains(config.ConnConfig.Database, "@") { // a password that is not encoded ends up anywhere
		return nil, fmt.Errorf("open %s: its URL cannot be read: expected "+
			"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with what is no letter or digit in USER and PASSWORD percent-encoded", what)
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	config.HealthCheckPeriod = healthPeriod
	conn := config.ConnConfig
	if !strings.Contains(url, "target_session_attrs") {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	params := limits()
	params["application_name"] = application
	for name, value := range params {
		if conn.RuntimeParams[name] == "" {
			conn.RuntimeParams[name] = value
		}
	}
	return config, nil
}

// readOnly is the code of read_only_sql_transaction.
const readOnly = "25006"

// IsReadOnly reports whether a server refused a write because it takes none.
func IsReadOnly(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == readOnly
}

// IsAway reports whether an error is the connection's, or a server's that does not
// answer, or takes no writes, now: it is a standby, its disk is full, it is too busy
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
func IsAway(err error) bool {
	var refused *pgconn.PgError
	var scan pgx.ScanArgError
	switch {
	case errors.As(err, &refused):
		class := refused.Code[:min(2, len(refused.Code))]
		return slices.Contains([]string{"08", "40", "53", "55", "57", "58"}, class) || refused.Code == readOnly
	case errors.As(err, &scan), errors.Is(err, pgx.ErrNoRows):
		return false
	}
	return err != nil // the driver's own are of connections
}

// Storable reports whether PostgreSQL takes texts, and so may have them.
func Storable(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !utf8.ValidString(s) || strings.ContainsRune(s, 0) })
}
