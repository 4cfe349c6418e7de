// Package bucket serves a model on a GPU in few shapes, and each shape from a
// session that keeps to it.
//
// For each convolution ONNX Runtime's CUDA provider keeps cuDNN's plan for the
// last shape only, and makes it anew when another one comes: 0.1 to 2 s for a
// network whose run takes 5 ms. Batches come in every size, so they are padded
// to powers of two, and as many sessions as there are shapes remember a plan
// each (docs/adr/0011). Frameworks that compile for shapes call this bucketing.
package bucket

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

// Session is one session of the model, safe for concurrent use (*ort.Session).
type Session interface {
	Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) (results []infer.Tensor, release func(), err error)
	Memory() int64
	Trim()
	Close() error
}

// Config is of a model whose first session is there.
type Config struct {
	Signature *infer.Signature // which inputs and outputs have rows
	MaxRows   int              // of a run, by the publisher's setting; 0 is no bound
	Sessions  int              // at most, the first among them; less than 1 is 1

	// Open makes another session of the same model; nil is one session. It is
	// called while other runs are under way; that it fails costs speed only.
	Open func() (Session, error)
}

// Model is a model's sessions. It is safe for concurrent use.
type Model struct {
	cfg   Config
	exact atomic.Bool // it is not one for padded rows: pad no more

	mu      sync.Mutex
	wrong   error           // how outputs had not the padded rows; nil when they had
	report  func(why error) // of that; nil until somebody asks
	all     []*shapeSession
	most    int // shapeSessions that there may be
	opening sync.WaitGroup
	turn    uint64 // counts runs, so that the least recent is known
}

// shapeSession is a session and the shapes that it ran last.
type shapeSession struct {
	session Session
	opened  chan struct{} // closed when session is there, or could not be opened
	shapes  string
	runs    int // under way
	turn    uint64
}

// New takes first over: Close closes it.
func New(first Session, cfg Config) *Model {
	opened := make(chan struct{})
	close(opened)
	m := &Model{cfg: cfg, most: 1, all: []*shapeSession{{session: first, opened: opened}}}
	if cfg.Open != nil {
		m.most = max(cfg.Sessions, 1)
	}
	return m
}

// Run is the Run of a session: the outputs are of the rows that were given, and
// the errors are those of the inputs as they were given.
func (m *Model) Run(ctx context.Context, held memory.Holder, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	padded, rows, whole := m.pad(inputs)
	k, err := m.take(ctx, shapesOf(padded))
	if err != nil {
		return nil, nil, err
	}
	defer m.put(k)
	charged := &counted{Holder: held}
	results, release, err := m.runOn(ctx, charged, k, padded, outputs)
	code := problem.CodeOf(err)
	switch {
	case whole == rows:
		return results, release, err
	case err == nil:
		wrong := m.cut(results, rows, whole)
		if wrong == nil {
			return results, release, nil
		}
		release()
		held.Give(charged.bytes)
		m.misfit(wrong)
	case code != problem.InvalidArgument && code != problem.PayloadTooLarge:
		return nil, nil, err
	}
	// The padding may be at fault, and an error about it would be of no use.
	// The same session: a refusal takes no other shape's.
	results, release, err = m.runOn(ctx, held, k, inputs, outputs)
	if err == nil && code == problem.InvalidArgument {
		m.Exact()
	}
	return results, release, err
}

// counted counts what a run's outputs are charged.
type counted struct {
	memory.Holder

	bytes int64
}

// Take implements memory.Holder.
func (c *counted) Take(ctx context.Context, n int64) error {
	err := c.Holder.Take(ctx, n)
	if err == nil {
		c.bytes += n
	}
	return err //nolint:wrapcheck // the account's, as the caller sees it
}

// Give implements memory.Holder.
func (c *counted) Give(n int64) {
	c.Holder.Give(n)
	c.bytes -= n
}

// Misfits has report called, once, when the model gives padded rows other outputs
// than rows, or did so before.
func (m *Model) Misfits(report func(why error)) {
	m.mu.Lock()
	m.report = report
	wrong := m.wrong
	m.mu.Unlock()
	if wrong != nil {
		report(wrong)
	}
}

// Exact ends the padding: the model was seen not to keep rows apart.
func (m *Model) Exact() { m.exact.Store(true) }

// misfit ends the padding of a model that broke the rule itself.
func (m *Model) misfit(wrong error) {
	m.Exact()
	m.mu.Lock()
	first, report := m.wrong == nil, m.report
	m.wrong = wrong
	m.mu.Unlock()
	if first && report != nil {
		report(wrong)
	}
}

// runOn runs on one session, and on the first where that has no memory
// to: it opened when there was little left, and the first's arena has some.
func (m *Model) runOn(ctx context.Context, held memory.Holder, k *shapeSession, inputs []infer.Tensor, outputs []string) ([]infer.Tensor, func(), error) {
	results, release, err := k.session.Run(ctx, held, inputs, outputs)
	if problem.CodeOf(err) != problem.PayloadTooLarge {
		return results, release, err
	}
	m.mu.Lock()
	first := m.use(m.all[0])
	m.mu.Unlock()
	defer m.put(first)
	if first == k {
		return results, release, err
	}
	results, release, err = first.session.Run(ctx, held, inputs, outputs)
	if err == nil { // the next ones begin there
		m.mu.Lock()
		first.shapes = shapesOf(inputs)
		m.mu.Unlock()
	}
	return results, release, err
}

// take finds the session that keeps to these shapes, or one that is to.
func (m *Model) take(ctx context.Context, shapes string) (*shapeSession, error) {
	for {
		k, open := m.choose(shapes)
		if open {
			m.opening.Go(func() { m.open(k) })
		}
		select {
		case <-k.opened:
		case <-ctx.Done():
			m.put(k)
			return nil, ctx.Err()
		}
		if k.session != nil {
			return k, nil
		}
		m.put(k) // it could not be opened, and no other will be
	}
}

// choose counts a run to a session: the one of the shapes; a new one, which the
// caller is to open; the one that was idle longest; or, when all are busy with
// others, the one with the least to do, which then makes plans for both.
func (m *Model) choose(shapes string) (k *shapeSession, open bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn++
	for _, one := range m.all {
		if one.shapes == shapes {
			return m.use(one), false
		}
	}
	if first := m.all[0]; first.shapes == "" {
		first.shapes = shapes
		return m.use(first), false
	}
	if len(m.all) < m.most {
		k = &shapeSession{shapes: shapes, opened: make(chan struct{})}
		m.all = append(m.all, k)
		return m.use(k), true
	}
	k = slices.MinFunc(m.all, func(a, b *shapeSession) int {
		if a.runs != b.runs {
			return a.runs - b.runs
		}
		return int(int64(a.turn - b.turn))
	})
	k.shapes = shapes
	return m.use(k), false
}

func (m *Model) use(k *shapeSession) *shapeSession {
	k.runs++
	k.turn = m.turn
	return k
}

func (m *Model) put(k *shapeSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.runs--
}

// open opens a session. Where there is no memory for it, no more are opened.
func (m *Model) open(k *shapeSession) {
	session, err := m.cfg.Open()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		k.session = session
	} else {
		m.all = slices.DeleteFunc(m.all, func(one *shapeSession) bool { return one == k })
		m.most = len(m.all)
	}
	close(k.opened)
}

// sessions are those that are there.
func (m *Model) sessions() (there []Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.all {
		if k.session != nil {
			there = append(there, k.session)
		}
	}
	return there
}

// Sessions is how many there are now.
func (m *Model) Sessions() int { return len(m.sessions()) }

// Memory is what they take of main memory, in bytes.
func (m *Model) Memory() (bytes int64) {
	for _, s := range m.sessions() {
		bytes += s.Memory()
	}
	return bytes
}

// Trim has each give back the memory that its runs have left for later ones.
func (m *Model) Trim() {
	for _, s := range m.sessions() {
		s.Trim()
	}
}

// Close closes the sessions, which wait for their runs. No run may begin after
// it.
func (m *Model) Close() error {
	m.opening.Wait() // whose callers may have left
	var errs []error
	for _, s := range m.sessions() {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// shapesOf is equal for inputs that need the same plans.
func shapesOf(inputs []infer.Tensor) string {
	var scratch [128]byte
	key := scratch[:0]
	byName := func(a, b infer.Tensor) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(inputs, byName) { // callers name them in any order
		inputs = slices.SortedFunc(slices.Values(inputs), byName)
	}
	for i := range inputs {
		key = binary.AppendUvarint(key, uint64(len(inputs[i].Name)))
		key = append(key, inputs[i].Name...)
		key = binary.AppendUvarint(key, uint64(len(inputs[i].Shape)))
		for _, d := range inputs[i].Shape {
			key = binary.AppendVarint(key, d)
		}
	}
	return string(key)
}
