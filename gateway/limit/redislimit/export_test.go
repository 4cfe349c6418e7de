package redislimit

import (
	"time"

	"github.com/redis/go-redis/v9"
)

// OpenPatient is Open of a Redis that may be as slow to answer as the machine which it
// shares with the test: for what holds answers, not how long they take.
func OpenPatient(url, prefix, replica string) (*Counters, error) {
	const patience = 5 * time.Minute
	one, many, err := options(url)
	switch {
	case err != nil:
		return nil, err
	case many != nil:
		many.DialTimeout, many.ReadTimeout, many.WriteTimeout, many.PoolTimeout = patience, patience, patience, patience
		return newCounters(redis.NewClusterClient(many), prefix, replica), nil
	default:
		one.DialTimeout, one.ReadTimeout, one.WriteTimeout, one.PoolTimeout = patience, patience, patience, patience
		return newCounters(redis.NewClient(one), prefix, replica), nil
	}
}
