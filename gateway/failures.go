package gateway

import (
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/route"
)

// failures are the models known not to load: what functions said of them, for
// a while or until they answer.
type failures struct {
	mu      sync.Mutex
	reasons map[route.Pin]failure
}

type failure struct {
	reason string
	until  time.Time
}

// A failure is remembered for failureFor, and failureMax of them at most.
const (
	failureFor = 30 * time.Second
	failureMax = 1000
)

func newFailures() *failures { return &failures{reasons: map[route.Pin]failure{}} }

func (f *failures) remember(pin route.Pin, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if len(f.reasons) >= failureMax {
		for key, known := range f.reasons {
			if now.After(known.until) {
				delete(f.reasons, key)
			}
		}
	}
	if _, known := f.reasons[pin]; known || len(f.reasons) < failureMax {
		f.reasons[pin] = failure{reason, now.Add(failureFor)}
	}
}

func (f *failures) forget(pin route.Pin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.reasons, pin)
}

// reason tells why a model would not answer; "" if nothing is known against it.
func (f *failures) reason(pin route.Pin) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.reasons[pin]; ok && time.Now().Before(known.until) {
		return known.reason
	}
	return ""
}
