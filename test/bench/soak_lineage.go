package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// lineage is a model that gets a new version again and again. Version v
// multiplies by v, so an answer shows which version it is of.
type lineage struct {
	name string

	mu       sync.Mutex
	newest   int
	named    []int       // versions that callers may name by number, oldest first
	uses     map[int]int // of those, by calls under way
	eras     []era       // what calls without a number may get
	answered map[int]int // answers by version
}

// era is the time from which on calls without a number get one of may.
type era struct {
	from time.Time
	may  []int
}

// lag is how long after a change the versions before it may still answer: a
// change is noticed in about two seconds, and then the new version has to load.
const lag = 10 * time.Second

func newLineage(name string) *lineage {
	return &lineage{name: name, uses: map[int]int{}, answered: map[int]int{}}
}

// change makes calls without a number go to next by doing do: until it is done
// they may go either way.
func (l *lineage) change(next []int, do func() error) error {
	l.begin(slices.Concat(l.now(), next))
	if err := do(); err != nil {
		return err
	}
	l.begin(next)
	return nil
}

func (l *lineage) begin(may []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.eras = append(l.eras, era{time.Now(), may})
}

func (l *lineage) now() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.eras) == 0 {
		return nil
	}
	return l.eras[len(l.eras)-1].may
}

// may reports whether a call without a number that began then and has ended now
// may have got a version.
func (l *lineage) may(version int, began time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.eras) {
		if slices.Contains(e.may, version) {
			return nil
		}
		if e.from.Before(began.Add(-lag)) {
			return fmt.Errorf("version %d answered, and since %s it is one of %v", version, time.Since(e.from).Round(time.Millisecond), e.may)
		}
	}
	return fmt.Errorf("version %d answered, which was never published", version)
}

// publish pushes the next version.
func (l *lineage) publish(ctx context.Context, p *platform, dir string) (version int, err error) {
	l.mu.Lock()
	l.newest++
	version = l.newest
	l.mu.Unlock()
	path := filepath.Join(dir, l.name+".onnx")
	if err := os.WriteFile(path, onnxtest.Scale(soakWidth, float32(version)).Marshal(), 0o600); err != nil {
		return 0, err
	}
	err = p.modelserve(ctx, "models", "push", l.name, path, "--version", strconv.Itoa(version), "--max-elements", strconv.Itoa(soakElements))
	return version, err
}

// known lets callers name a version.
func (l *lineage) known(version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.named = append(l.named, version)
}

// hold picks a version to name until release.
func (l *lineage) hold() (version int, release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	version = l.named[rand.IntN(len(l.named))]
	l.uses[version]++
	return version, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.uses[version]--
	}
}

// drop lets nobody name the oldest version any more, and waits until nobody
// does. 0 is none to spare.
func (l *lineage) drop(ctx context.Context, keep int) (version int, err error) {
	l.mu.Lock()
	if len(l.named) <= keep {
		l.mu.Unlock()
		return 0, nil
	}
	version, l.named = l.named[0], l.named[1:]
	l.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		left := l.uses[version]
		l.mu.Unlock()
		if left == 0 {
			return version, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// ask is a request without a version, or by an alias; last is the newest that
// its caller saw, where none older may answer them any more.
func (l *lineage) ask(want string, last *int) question {
	began := time.Now()
	return l.question(want, func(version int) error {
		if last != nil {
			if version < *last {
				return fmt.Errorf("version %d answered after version %d", version, *last)
			}
			*last = version
		}
		return l.may(version, began)
	})
}

// askNumber is a request by a version's number.
func (l *lineage) askNumber() question {
	wanted, release := l.hold()
	q := l.question(strconv.Itoa(wanted), func(version int) error {
		if version != wanted {
			return fmt.Errorf("version %d answered for %d", version, wanted)
		}
		return nil
	})
	q.done = release
	return q
}

func (l *lineage) question(want string, check func(version int) error) question {
	n := 1 + rand.IntN(soakRows)
	values := make([]float32, n*soakWidth)
	for i := range values {
		values[i] = float32(1 + rand.IntN(1000))
	}
	return question{
		model: l.name, version: want,
		input: infer.NewTensor("x", []int64{int64(n), soakWidth}, values),
		check: func(a *answer) error {
			version, err := strconv.Atoi(a.version)
			if err != nil {
				return err
			}
			if len(a.values) != len(values) {
				return fmt.Errorf("%d values for %d", len(a.values), len(values))
			}
			for i, x := range values {
				if a.values[i] != x*float32(version) {
					return fmt.Errorf("version %d answers %v for %v", version, a.values[i], x)
				}
			}
			l.mu.Lock()
			l.answered[version]++
			l.mu.Unlock()
			return check(version)
		},
	}
}
