package limit

// BeginAtMost bounds the counts of a quota that a tenant may begin, for tests that have
// not the time for as many as there may be.
func (l *Limiter) BeginAtMost(n int) { l.begun.most = n }
