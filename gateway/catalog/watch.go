package catalog

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/internal/detach"
)

// How often the store is asked whether anything changed, and how old its answer
// may be. A push is seen within patience and one listing.
const (
	interval = time.Second // while somebody asks, a quarter more or less; never otherwise
	patience = 1500 * time.Millisecond
	askTime  = 3 * time.Second // of one question
)

// watch knows the store's generation. It asks when it is asked, once however
// many ask, and answers with what it knows while it does; only after a pause,
// when that may be old, those who ask wait.
type watch struct {
	ask       func(ctx context.Context, since string) (string, error)
	questions *detach.Group

	mu     sync.Mutex
	now    string
	at     time.Time     // when the last question was put; zero before the first
	next   time.Duration // after at, when the next is due
	failed error         // why the last had no answer; nil when it had
	asking chan struct{} // closed when the question under way is answered; nil is none
}

// current is the generation. A store that does not answer is no error: what
// is remembered is bounded in time by itself.
func (w *watch) current(ctx context.Context) (string, error) {
	w.mu.Lock()
	age := time.Since(w.at)
	if !w.at.IsZero() && age < w.next {
		defer w.mu.Unlock()
		return w.now, nil
	}
	if err := w.begin(ctx); err != nil {
		w.mu.Unlock()
		return "", err
	}
	if !w.at.IsZero() && (age < patience || w.failed != nil) {
		defer w.mu.Unlock()
		return w.now, nil
	}
	asking := w.asking
	w.mu.Unlock()
	select {
	case <-asking:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now, nil
}

// fault is why the store had no answer when it was last asked; nil when it had
// one. It asks as current does, and waits for an answer where the last is old,
// also of a store that failed then.
func (w *watch) fault(ctx context.Context) error {
	if _, err := w.current(ctx); err != nil {
		return nil // whoever asks has left
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if asking := w.asking; asking != nil && time.Since(w.at) >= patience {
		w.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
		}
		w.mu.Lock()
	}
	return w.failed
}

// renew asks the store now, one question at a time however many want it. One
// that was under way already may have been answered too early, so another is
// waited for. A store that failed a moment ago is left alone.
func (w *watch) renew(ctx context.Context) {
	called := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.at.Before(called) && ctx.Err() == nil && (w.failed == nil || called.Sub(w.at) >= w.next) {
		if w.begin(ctx) != nil {
			return // closed
		}
		asking := w.asking
		w.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
		}
		w.mu.Lock()
	}
}

// begin puts a question unless one is under way. It is bounded by askTime, and
// waited for by those who need the answer. Called with mu held.
func (w *watch) begin(ctx context.Context) error {
	if w.asking != nil {
		return nil
	}
	since, answered := w.now, make(chan struct{})
	if err := w.questions.Go(ctx, func(ctx context.Context) { w.put(ctx, since, answered) }); err != nil {
		return err //nolint:wrapcheck // whoever asks says what of
	}
	w.asking = answered
	return nil
}

// put puts one question to the store.
func (w *watch) put(ctx context.Context, since string, answered chan<- struct{}) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	began := time.Now()
	now, err := w.ask(ctx, since)

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed = err; err != nil {
		began = time.Now() // one that does not answer is not asked without a break
	} else {
		w.now = now
	}
	w.at, w.next = began, interval*3/4+rand.N(interval/2) //nolint:gosec // a jitter, no secret
	w.asking = nil
	close(answered)
}
