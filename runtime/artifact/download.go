package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"time"
)

// Transfer bounds a download. The zero value takes the defaults.
type Transfer struct {
	RangeBytes int64         // of one GET; 8 MiB, and less for a file that has fewer than Ranges of them
	Ranges     int           // GETs at once, of all files together; 4
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

// span is the length of the ranges of a file of size bytes: the hash takes them
// in order, so it lags behind by the ranges that are under way at once.
func (t Transfer) span(size int64) int64 {
	return min(t.RangeBytes, max(minRange, size/int64(2*t.Ranges)))
}

// pieceBytes is what a range reads before it is written and told to the hash:
// it stays in the processor's cache for all three.
const pieceBytes = 256 << 10

// sink is where a download goes: pieces are written where they belong as they
// come, and read again once, in order, to be hashed.
type sink interface {
	io.WriterAt
	io.ReaderAt
}

// ring is a sink that keeps the ranges under way and nothing else.
type ring []byte

// WriteAt implements sink.
func (r ring) WriteAt(p []byte, off int64) (int, error) {
	n := copy(r[off%int64(len(r)):], p)
	return n + copy(r, p[n:]), nil
}

// ReadAt implements sink.
func (r ring) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, r[off%int64(len(r)):])
	return n + copy(p[n:], r), nil
}

// part is one range of a file on its way.
type part struct {
	first, length int64
	pieces        chan int // their lengths as they are in place, in order; closed at the end
	err           error    // set before that
}

// download gets an object in parallel ranges into dst, and hashes what is in
// place while the rest arrives. A range keeps its turn until it is hashed, so
// what is under way never spans more than Ranges of them. arrived is when the
// last byte was there.
func (f *Fetcher) download(ctx context.Context, key string, file File, dst sink) (sum string, arrived time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make(chan *part, f.transfer.Ranges)
	started := make(chan struct{})
	go func() {
		defer close(started)
		defer close(parts)
		f.begin(ctx, key, file, dst, parts)
	}()
	h := sha256.New()
	for p := range parts {
		if err == nil {
			if err = f.hash(p, dst, h, &arrived); err != nil {
				cancel()
			}
		}
		for range p.pieces { // wait for what is still on its way
		}
		f.ranges.Release(1)
	}
	<-started
	if err == nil {
		err = ctx.Err()
	}
	return hex.EncodeToString(h.Sum(nil)), arrived, err
}

// begin starts a file's ranges in order, as turns come free.
func (f *Fetcher) begin(ctx context.Context, key string, file File, dst sink, parts chan<- *part) {
	span := f.transfer.span(file.Size)
	for first := int64(0); first < file.Size; first += span {
		if f.ranges.Acquire(ctx, 1) != nil {
			return
		}
		length := min(span, file.Size-first)
		// As many pieces as there can be: an attempt may end in the middle of one.
		p := &part{first: first, length: length, pieces: make(chan int, int(length/pieceBytes)+1+f.transfer.Attempts)}
		go func() {
			defer close(p.pieces)
			p.err = f.fetchRange(ctx, key, p, file.Size, dst)
		}()
		parts <- p // never blocks for long: there are as many places as turns, and download takes all
	}
}

// hash takes a range's pieces as they come into place.
func (f *Fetcher) hash(p *part, dst sink, h hash.Hash, arrived *time.Time) error {
	buffer := f.buffer()
	defer f.buffers.Put(buffer)
	at := p.first
	for n := range p.pieces {
		*arrived = time.Now()
		piece := (*buffer)[:n]
		if _, err := dst.ReadAt(piece, at); err != nil {
			return permanent{fmt.Errorf("read again what was written: %w", err)}
		}
		h.Write(piece)
		at += int64(n)
	}
	return p.err
}

// buffer is room for a piece; put it back into buffers.
func (f *Fetcher) buffer() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, pieceBytes)
	return &b
}

// fetchRange gets a range, and goes on where an attempt broke off.
func (f *Fetcher) fetchRange(ctx context.Context, key string, p *part, size int64, dst sink) error {
	buffer := f.buffer()
	defer f.buffers.Put(buffer)
	got := int64(0)
	var err error
	for attempt := range f.transfer.Attempts {
		if attempt > 0 {
			if err := sleep(ctx, backoff(f.transfer.Backoff, attempt)); err != nil {
				return err
			}
		}
		var n int64
		n, err = f.attempt(ctx, key, p, got, size, dst, *buffer)
		got += n
		if got == p.length {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !again(err) {
			return err
		}
	}
	return fmt.Errorf("interrupted: got %d of %d bytes from byte %d in %d attempts: %w",
		got, p.length, p.first, f.transfer.Attempts, err)
}

// attempt reads a range from its byte from on until an error or the end; a body
// that stalls is an error.
func (f *Fetcher) attempt(ctx context.Context, key string, p *part, from, size int64, dst sink, buffer []byte) (got int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(f.transfer.Stall, func() {
		cancel(fmt.Errorf("%w: no byte in %v", errUnreachable, f.transfer.Stall))
	})
	defer stall.Stop()
	body, err := f.store.openRange(ctx, key, p.first+from, p.length-from, size)
	if err != nil {
		return 0, stalled(ctx, err)
	}
	defer body.Close()
	for got < p.length-from && err == nil {
		var n int
		n, err = readPiece(body, buffer[:min(int64(len(buffer)), p.length-from-got)], func() { stall.Reset(f.transfer.Stall) })
		if n == 0 {
			continue
		}
		if _, err := dst.WriteAt(buffer[:n], p.first+from+got); err != nil {
			return got, permanent{onDisk(err)}
		}
		got += int64(n)
		p.pieces <- n
	}
	return got, stalled(ctx, err)
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
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errUnreachable) {
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
