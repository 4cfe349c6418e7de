package sqlite

import (
	"context"
	"errors"
)

// TakeReaders takes every reader but those of the poll, as lists that take long do. give
// gives them back.
func (s *Store) TakeReaders(ctx context.Context) (give func() error, err error) {
	var taken []func() error
	give = func() error {
		var all error
		for _, back := range taken {
			all = errors.Join(all, back())
		}
		return all
	}
	for range maxReaders {
		conn, err := s.reader.Conn(ctx)
		if err != nil {
			return nil, errors.Join(err, give())
		}
		taken = append(taken, conn.Close)
	}
	return give, nil
}
