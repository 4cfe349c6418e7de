package sqlite

import "testing"

// Pragma sets one of the connection that writes.
func (s *Store) Pragma(t *testing.T, pragma string) {
	t.Helper()
	if _, err := s.writer.ExecContext(t.Context(), "PRAGMA "+pragma); err != nil {
		t.Fatal(err)
	}
}
