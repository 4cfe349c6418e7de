package resolve

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// failures are the models known not to load: the errors of functions, for
// a while or until they answer.
type failures struct {
	mu      sync.Mutex
	reasons map[model.Ref]failure
}

// failure is why a version does not load; under version 0, which one the pool
// answers calls without a version by meanwhile.
type failure struct {
	reason  string
	standIn int
	until   time.Time
}

// A failure is remembered for failureFor, and failureMax of them at most.
const (
	failureFor = 30 * time.Second
	failureMax = 1000
)

func newFailures() *failures { return &failures{reasons: map[model.Ref]failure{}} }

func (f *failures) remember(pin model.Ref, reason string) { f.put(pin, failure{reason: reason}) }

func (f *failures) put(pin model.Ref, known failure) {
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
	if _, again := f.reasons[pin]; again || len(f.reasons) < failureMax {
		known.until = now.Add(failureFor)
		f.reasons[pin] = known
	}
}

func (f *failures) forget(pin model.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.reasons, pin)
}

// failed remembers that a call to t had no answer since a version does not load.
func (f *failures) failed(t *call.Target, reason string) {
	if t.Open {
		f.forget(model.Ref{Name: t.Ref.Name})
	}
	f.remember(t.Ref, reason)
}

// answered remembers that a call to t had one, by the version that its header
// names: the pool may have another stand in for the one that is due, of which
// nothing better is known then.
func (f *failures) answered(t *call.Target, h http.Header) {
	by := servedVersion(t.Ref, h)
	switch whole := (model.Ref{Name: t.Ref.Name}); {
	case !t.Open:
	case by == t.Ref:
		f.forget(whole)
	default:
		f.put(whole, failure{standIn: by.Version})
	}
	f.forget(by)
}

// servedVersion is the version of a pin's model that an answer's header has, else the
// pin.
func servedVersion(pin model.Ref, h http.Header) model.Ref {
	text, _, _ := strings.Cut(h.Get(infer.ModelHeader), ";")
	if ref, err := model.ParsePinned(text); err == nil && ref.Name == pin.Name {
		return ref
	}
	return pin
}

// answering is the version that answers calls without one, which pin is due for.
func (f *failures) answering(pin model.Ref) model.Ref {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.reasons[model.Ref{Name: pin.Name}]; ok && time.Now().Before(known.until) {
		return model.Ref{Name: pin.Name, Version: known.standIn}
	}
	return pin
}

// reason is why a model would not answer; "" if nothing is known against it.
func (f *failures) reason(pin model.Ref) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.reasons[pin]; ok && time.Now().Before(known.until) {
		return known.reason
	}
	return ""
}
