package schedule

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Missed is what becomes of times at which nothing could be started: the platform was
// away, or its database.
type Missed string

// The policies.
const (
	Skip Missed = "skip" // they are left out
	One  Missed = "one"  // the last of them runs, late
	All  Missed = "all"  // each runs, late and in order
)

// onTime is how late a planned time may be begun without having been missed: a replica
// that dies at the turn of a minute leaves it to another.
const onTime = time.Minute

// Due is which of a schedule's times run now, and which is the next one to be looked at.
type Due struct {
	Run  time.Time // the planned time that is to be started; zero where none is
	Next time.Time // the one after it, which may be past; zero where none follows
}

// maxMissed bounds how many missed times of a schedule All runs: the last ones.
const maxMissed = 1000

// Due decides what is to be done at a time about a schedule whose next planned time has
// come. One time is decided at once: of several that were missed the others follow, each
// in its turn.
func (p *Plan) Due(missed Missed, planned, now time.Time) Due {
	// What is planned from here on is not missed yet.
	since := now.Add(-onTime)
	if !planned.Before(since) {
		return Due{Run: planned, Next: p.Next(planned)}
	}
	switch missed {
	case All:
		first := p.late(planned, since, maxMissed)
		return Due{Run: first, Next: p.Next(first)}
	case One:
		return Due{Run: p.late(planned, since, 1), Next: p.Next(since.Add(-1))}
	default:
		return Due{Next: p.Next(since.Add(-1))}
	}
}

// late is the first of the last `most` times before another that the schedule has run
// or was to run, from planned on, which is the first of all.
func (p *Plan) late(planned, before time.Time, most int) time.Time {
	// Backwards by growing spans, so that a year of missed minutes is not walked through.
	for span := time.Duration(most) * time.Minute; ; span *= 2 {
		times := []time.Time{}
		at := before.Add(-span)
		if !at.After(planned) {
			times, at = append(times, planned), planned
		}
		whole := at.Equal(planned)
		for at = p.Next(at); !at.IsZero() && at.Before(before); at = p.Next(at) {
			times = append(times, at)
		}
		if whole || len(times) >= most {
			return times[max(len(times)-most, 0)]
		}
	}
}

// Jittered is when a planned time is started: up to jitter later, spread by the
// schedule's name and the time, so that every replica finds the same.
func Jittered(tenant, name string, planned time.Time, jitter time.Duration) time.Time {
	if jitter <= 0 {
		return planned
	}
	h := fnv.New64a()
	for _, part := range [][]byte{[]byte(tenant), {0}, []byte(name), {0}, binary.BigEndian.AppendUint64(nil, uint64(planned.Unix()))} {
		_, _ = h.Write(part)
	}
	// FNV's low bits are spread well enough only after being mixed once more.
	mixed := h.Sum64()
	mixed ^= mixed >> 33
	mixed *= 0xff51afd7ed558ccd // the finalizer of MurmurHash3
	mixed ^= mixed >> 33
	return planned.Add(time.Duration(mixed % uint64(jitter)))
}
