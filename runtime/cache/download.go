package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// Transfer bounds a download. The zero value takes the defaults.
type Transfer struct {
	RangeBytes int64         // of one GET; 8 MiB, and less for a file of fewer than Ranges of them
	Ranges     int           // GETs at once, of all files together; 4. Each may hold its range in memory
	Attempts   int           // per range; 5
	Stall      time.Duration // a range without a byte for so long is tried again; 15 s
	Backoff    time.Duration // before the second attempt; doubles; 100 ms

	// Memory is the largest file that is kept in memory when the cache's disk
	// takes none; 0 is never.
	Memory int64
}

func (t Transfer) withDefaults() Transfer {
	if t.RangeBytes <= 0 {
		t.RangeBytes = 8 << 20
	}
	if t.Ranges <= 0 {
		t.Ranges = 4
	}
	if t.Attempts <= 0 {
		t.Attempts = 5
	}
	if t.Stall <= 0 {
		t.Stall = 15 * time.Second
	}
	if t.Backoff <= 0 {
		t.Backoff = 100 * time.Millisecond
	}
	return t
}

// minRange is what a range has at least: below it, requests cost more than
// what running them at once saves.
const minRange = 1 << 20

// span is the length of the ranges of a file of size bytes: all turns at once
// where it is small.
func (t Transfer) span(size int64) int64 {
	turns := int64(t.Ranges)
	return min(t.RangeBytes, max(minRange, (size+turns-1)/turns))
}

// pieceBytes is what a range reads before it is written and handed to the hash:
// it stays in the processor's cache for all three.
const pieceBytes = 256 << 10

// idle is how long the hash waits for bytes before another range is begun. A
// network that keeps it busy by one is only slowed by more; on any other they
// are all under way after a few milliseconds.
const idle = 2 * time.Millisecond

// part is one range of a file on its way.
type part struct {
	first, length int64
	pieces        chan piece    // in order, written; closed at the end
	err           error         // set before that
	nearly        chan struct{} // closed when its end is near
}

// piece is some bytes of a range, in a buffer that goes back where it came from.
type piece struct {
	buffer *[]byte
	n      int
}

// download gets an object in ranges into dst, several at once where that is
// faster, and hashes them in order while the rest arrives. A range keeps its
// turn until it is hashed, so that no more than Ranges of them are in memory.
// arrived is when the last byte was there.
func (f *Fetcher) download(ctx context.Context, ref model.Ref, file model.File, dst io.WriterAt) (sum string, arrived time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make(chan *part, f.transfer.Ranges)
	more := make(chan struct{}, 1)
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		defer close(parts)
		f.begin(ctx, ref, file, dst, parts, more)
	}()
	h := sha256.New()
	for p := range parts {
		for c := range p.take(more) {
			arrived = time.Now()
			if err == nil {
				h.Write((*c.buffer)[:c.n])
			}
			f.buffers.Put(c.buffer)
		}
		if err == nil && p.err != nil {
			err = p.err
			cancel()
		}
		f.ranges.Release(1)
	}
	<-begun
	if err == nil {
		err = ctx.Err()
	}
	return hex.EncodeToString(h.Sum(nil)), arrived, err
}

// begin begins a file's ranges in order: the next one when the last is nearly
// there, or when the hash has nothing to do, which more signals.
func (f *Fetcher) begin(ctx context.Context, ref model.Ref, file model.File, dst io.WriterAt, parts chan<- *part, more <-chan struct{}) {
	span := f.transfer.span(file.Size)
	for first := int64(0); first < file.Size; first += span {
		if f.ranges.Acquire(ctx, 1) != nil {
			return
		}
		length := min(span, file.Size-first)
		p := &part{
			first: first, length: length, nearly: make(chan struct{}),
			// There is room for all, as an attempt may end in the middle of one.
			pieces: make(chan piece, int(length/pieceBytes)+1+f.transfer.Attempts),
		}
		go func() {
			defer close(p.pieces)
			end := sync.OnceFunc(func() { close(p.nearly) })
			defer end()
			p.err = f.fetchRange(ctx, ref, file, p, dst, end)
		}()
		parts <- p // as many as there are turns have room
		select {
		case <-more:
		case <-p.nearly:
		case <-ctx.Done():
			return
		}
	}
}

// take yields a range's pieces as they come, and asks for more while there are
// none.
func (p *part) take(more chan<- struct{}) func(yield func(piece) bool) {
	return func(yield func(piece) bool) {
		timer := time.NewTimer(idle)
		defer timer.Stop()
		for {
			select {
			case c, ok := <-p.pieces:
				if !ok || !yield(c) {
					return
				}
			case <-timer.C:
				select {
				case more <- struct{}{}:
				default: // it was asked for already
				}
			}
			timer.Reset(idle)
		}
	}
}

// buffer is the memory of a piece.
func (f *Fetcher) buffer() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, pieceBytes)
	return &b
}

// fetchRange gets a range, and goes on where an attempt broke off. It calls
// nearly when less than an eighth of it is missing.
func (f *Fetcher) fetchRange(ctx context.Context, ref model.Ref, file model.File, p *part, dst io.WriterAt, nearly func()) error {
	got, writeErr := int64(0), error(nil)
	put := func(c piece) error {
		if _, err := dst.WriteAt((*c.buffer)[:c.n], p.first+got); err != nil {
			f.buffers.Put(c.buffer)
			writeErr = diskError(err)
			return writeErr
		}
		if got += int64(c.n); p.length-got < p.length/8 {
			nearly()
		}
		p.pieces <- c
		return nil
	}
	var err error
	for attempt := range f.transfer.Attempts {
		if attempt > 0 {
			if err := sleep(ctx, backoff(f.transfer.Backoff, attempt)); err != nil {
				return err
			}
		}
		err = f.attempt(ctx, ref, file, p.first+got, p.length-got, put)
		if got == p.length {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if writeErr != nil || !isRetryable(err) {
			return err
		}
	}
	return fmt.Errorf("interrupted: got %d of %d bytes from byte %d in %d attempts: %w",
		got, p.length, p.first, f.transfer.Attempts, err)
}

// attempt reads length bytes from first on until an error or the end; a body
// that stalls is an error.
func (f *Fetcher) attempt(ctx context.Context, ref model.Ref, file model.File, first, length int64, put func(piece) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(f.transfer.Stall, func() {
		cancel(fmt.Errorf("%w: no byte in %v", model.ErrUnreachable, f.transfer.Stall))
	})
	defer stall.Stop()
	body, err := f.store.OpenFile(ctx, ref, file, first, length)
	if err != nil {
		return stalled(ctx, err)
	}
	defer body.Close()
	for length > 0 && err == nil {
		c := piece{buffer: f.buffer()}
		c.n, err = readPiece(body, (*c.buffer)[:min(pieceBytes, length)], func() { stall.Reset(f.transfer.Stall) })
		if c.n == 0 {
			f.buffers.Put(c.buffer)
			continue
		}
		length -= int64(c.n)
		if err := put(c); err != nil {
			return err
		}
	}
	return stalled(ctx, err)
}

// readPiece fills b, or as much of it as there is before an error.
func readPiece(r io.Reader, b []byte, alive func()) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		if n += m; m > 0 {
			alive()
		}
	}
	switch {
	case n == len(b):
		return n, nil
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// stalled prefers the reason for which the attempt was ended.
func stalled(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, model.ErrUnreachable) {
		return cause
	}
	return err
}

func backoff(first time.Duration, attempt int) time.Duration {
	d := first << min(attempt-1, 10)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again reports whether another attempt may succeed.
func isRetryable(err error) bool { return !model.IsPermanent(err) && !errors.Is(err, context.Canceled) }
