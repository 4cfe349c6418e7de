package batch

import "time"

// occupancy is how much of the slots was in use over time, so that a run's time
// is compared with others of as busy a moment. It is under Scheduler.mu.
type occupancy struct {
	slots int
	used  int
	sum   float64 // slot-nanoseconds since the beginning
	last  time.Time
}

// reading is the occupancy as of a moment.
type reading struct {
	sum float64
	at  time.Time
}

func (o *occupancy) read(now time.Time) reading {
	if !o.last.IsZero() {
		o.sum += float64(o.used) * float64(now.Sub(o.last))
	}
	o.last = now
	return reading{o.sum, now}
}

func (o *occupancy) change(now time.Time, by int) reading {
	r := o.read(now)
	o.used += by
	return r
}

// others is how much of the other slots was in use between two readings, 0 to 1.
func (o *occupancy) others(from, to reading) float64 {
	took := float64(to.at.Sub(from.at))
	if o.slots < 2 || took <= 0 {
		return 0
	}
	return min(max(((to.sum-from.sum)/took-1)/float64(o.slots-1), 0), 1)
}
