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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Transfer bounds a download. The zero value takes the defaults.
type Transfer struct {
	RangeBytes int64         // of one GET; 8 MiB
	Ranges     int           // GETs at once, of all files together; 4. Each holds RangeBytes of memory
	Attempts   int           // per range; 5
	Stall      time.Duration // a range without a byte for so long is tried again; 15 s
	Backoff    time.Duration // before the second attempt; doubles; 100 ms
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

// chunk is one range of a file on its way.
type chunk struct {
	data []byte
	err  error
}

// download gets an object in parallel ranges and writes it, hashing each range
// in its turn. What was read is counted in got, also when it fails.
func (f *Fetcher) download(ctx context.Context, key string, file File, dst io.Writer) (sum string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	n := (file.Size + f.transfer.RangeBytes - 1) / f.transfer.RangeBytes
	pending := make(chan chan chunk, f.transfer.Ranges)
	producing := make(chan struct{})
	go func() {
		defer close(producing)
		defer close(pending)
		for i := range n {
			if f.ranges.Acquire(ctx, 1) != nil {
				return
			}
			result := make(chan chunk, 1)
			go func() {
				first := i * f.transfer.RangeBytes
				data, err := f.fetchRange(ctx, key, first, min(f.transfer.RangeBytes, file.Size-first), file.Size)
				result <- chunk{data, err}
			}()
			select {
			case pending <- result:
			case <-ctx.Done():
				<-result
				f.ranges.Release(1)
				return
			}
		}
	}()
	h := sha256.New()
	err = f.write(pending, dst, h)
	if err != nil {
		cancel()
		for result := range pending { // wait for what is still on its way
			<-result
			f.ranges.Release(1)
		}
	}
	<-producing
	if err == nil {
		err = ctx.Err()
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// write takes the ranges in order.
func (f *Fetcher) write(pending <-chan chan chunk, dst io.Writer, h hash.Hash) error {
	for result := range pending {
		c := <-result
		err := c.err
		if err == nil {
			h.Write(c.data)
			if _, werr := dst.Write(c.data); werr != nil {
				err = onDisk(werr)
			}
		}
		f.ranges.Release(1)
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchRange gets length bytes from first on, and goes on where an attempt
// broke off.
func (f *Fetcher) fetchRange(ctx context.Context, key string, first, length, size int64) ([]byte, error) {
	data := make([]byte, length)
	got := int64(0)
	var err error
	for attempt := range f.transfer.Attempts {
		if attempt > 0 {
			if waitErr := sleep(ctx, backoff(f.transfer.Backoff, attempt)); waitErr != nil {
				return nil, waitErr
			}
		}
		var n int64
		n, err = f.attempt(ctx, key, data[got:], first+got, size)
		got += n
		if got == length {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !again(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("interrupted: got %d of %d bytes from byte %d in %d attempts: %w",
		got, length, first, f.transfer.Attempts, err)
}

// attempt reads into data from an offset of the object until an error or the
// end; a body that stalls is an error.
func (f *Fetcher) attempt(ctx context.Context, key string, data []byte, first, size int64) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(f.transfer.Stall, func() {
		cancel(fmt.Errorf("%w: no byte in %v", errUnreachable, f.transfer.Stall))
	})
	defer stall.Stop()

	out, err := f.store.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &f.store.bucket, Key: &key,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", first, first+int64(len(data))-1)),
	}, func(o *s3.Options) { o.Retryer = aws.NopRetryer{} })
	if err != nil {
		return 0, stalled(ctx, outOfRange(explain(err), first, size))
	}
	defer out.Body.Close()
	if err := checkRange(out, first, size); err != nil {
		return 0, err
	}
	got := 0
	for got < len(data) {
		n, err := out.Body.Read(data[got:])
		got += n
		if n > 0 {
			stall.Reset(f.transfer.Stall)
		}
		if errors.Is(err, io.EOF) && got < len(data) {
			return int64(got), io.ErrUnexpectedEOF
		}
		if err != nil && got < len(data) {
			return int64(got), stalled(ctx, err)
		}
	}
	return int64(got), nil
}

// stalled prefers the reason for which the attempt was ended.
func stalled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errUnreachable) {
		return cause
	}
	return err
}

// checkRange compares what S3 says of an object with the manifest.
func checkRange(out *s3.GetObjectOutput, first, size int64) error {
	var total int64
	if r := aws.ToString(out.ContentRange); r != "" {
		span, n, ok := strings.Cut(strings.TrimPrefix(r, "bytes "), "/")
		start, _, _ := strings.Cut(span, "-")
		begin, err1 := strconv.ParseInt(start, 10, 64)
		have, err2 := strconv.ParseInt(n, 10, 64)
		if !ok || err1 != nil || err2 != nil || begin != first {
			return permanent{fmt.Errorf("S3 answers the range %.50q where byte %d was asked for", r, first)}
		}
		total = have
	} else {
		// A server without ranges answers the whole object.
		if first != 0 {
			return permanent{errors.New("S3 answers without the range that was asked for")}
		}
		total = aws.ToInt64(out.ContentLength)
	}
	return wrongSize(total, size)
}

// wrongSize is the error of an object that has not the manifest's size.
func wrongSize(have, want int64) error {
	switch {
	case have < want:
		return permanent{fmt.Errorf("truncated: got %d of %d bytes", have, want)}
	case have > want:
		return permanent{fmt.Errorf("altered: it has %d bytes, expected %d", have, want)}
	}
	return nil
}

// outOfRange explains the refusal of a range: the object ends before it.
func outOfRange(err error, first, size int64) error {
	if err != nil && strings.Contains(err.Error(), "416") {
		return permanent{fmt.Errorf("truncated: it ends before byte %d of %d", first, size)}
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

// fill downloads a file into the cache. Another process that is at the same
// file is waited for.
func (f *Fetcher) fill(ctx context.Context, key string, file File) (read int64, err error) {
	c := f.cache
	if c.readOnly {
		return 0, errors.New("it is not in the cache, and the cache is read-only")
	}
	tmp, err := os.OpenFile(c.partial(file.SHA256), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, onDisk(err)
	}
	defer tmp.Close()
	if err := waitLock(ctx, tmp); err != nil {
		return 0, err
	}
	if current, err := sameFile(tmp, tmp.Name()); err != nil || !current {
		// The other process finished, or gave up: the caller looks again.
		return 0, err
	}
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	if err := c.reserve(ctx, file.Size); err != nil {
		return 0, err
	}
	if err := errors.Join(tmp.Truncate(0), tmp.Truncate(file.Size)); err != nil { // counted from now on
		return 0, onDisk(err)
	}
	sum, err := f.download(ctx, key, file, f.writer(tmp))
	if err != nil {
		return 0, err
	}
	if sum != file.SHA256 {
		return file.Size, permanent{fmt.Errorf("altered: sha256 %s, expected %s", sum, file.SHA256)}
	}
	if err := c.commit(tmp, file); err != nil {
		return file.Size, err
	}
	committed = true
	return file.Size, nil
}
