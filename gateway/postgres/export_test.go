package postgres

import "testing"

// Limits are those of a session.
func (s *Store) Limits(t *testing.T) (limits string) {
	t.Helper()
	err := s.pool.QueryRow(t.Context(), `SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
		current_setting('idle_in_transaction_session_timeout'), current_setting('application_name'))`).Scan(&limits)
	if err != nil {
		t.Fatal(err)
	}
	return limits
}
