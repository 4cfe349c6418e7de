package lifecycle

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace holds how slowly a client may read.
func TestPace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bytes int
		each  time.Duration // that a piece waits
		first time.Duration // that the first waits
		cut   bool
	}{
		"at once":                        {bytes: 100 * piece},
		"at the rate":                    {bytes: 100 * piece, each: 4 * time.Second},
		"below the rate, all by a wait":  {bytes: 3 * piece, each: 9 * time.Second},
		"below the rate":                 {bytes: 100 * piece, each: 9 * time.Second, cut: true},
		"just within the wait":           {bytes: piece, first: 29 * time.Second},
		"just without it":                {bytes: piece, first: 31 * time.Second, cut: true},
		"much of the wait, and the rate": {bytes: 100 * piece, first: 25 * time.Second, each: 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cut := make(chan struct{})
				errCut := errors.New("cut")
				wait := tc.first + tc.each
				write := func(p []byte) (int, error) {
					select {
					case <-cut:
						return 0, errCut
					case <-time.After(wait):
						wait = tc.each
						return len(p), nil
					}
				}
				var p pace
				n, err := p.write(Reading{Wait: 30 * time.Second, Rate: 16 << 10}, make([]byte, tc.bytes), write, func() { close(cut) })
				if tc.cut != errors.Is(err, errCut) || !tc.cut && n != tc.bytes {
					t.Errorf("%d bytes, %v", n, err)
				}
			})
		})
	}
}

// TestASystemThatQueuesIsNoSlowReader holds that a client which reads a little faster than
// it has to is not cut off for what the system queues: that takes no more once as much as
// it may is unsent, until half of that is left.
func TestASystemThatQueuesIsNoSlowReader(t *testing.T) {
	t.Parallel()
	const rate = 17 << 10 // bytes a second
	for name, tc := range map[string]struct {
		unsent, unread int
		cut            bool
	}{
		"what is bounded":                {unsent, unread, false},
		"Linux' queue for loopback":      {2560 << 10, unread, true},
		"a buffer that has grown by far": {unsent, 32 << 20, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cut := make(chan struct{})
				errCut := errors.New("cut")
				queued := 0
				wait := func(n int) error { // until so much is read
					n = max(n, tc.unread/16) // less is not passed on
					select {
					case <-cut:
						return errCut
					case <-time.After(time.Duration(n) * time.Second / rate):
						queued = max(queued-n, 0)
						return nil
					}
				}
				write := func(p []byte) (int, error) {
					if queued >= tc.unsent {
						for queued > tc.unsent/2 {
							if err := wait(queued - tc.unsent/2); err != nil {
								return 0, err
							}
						}
					}
					queued += len(p)
					return len(p), nil
				}
				var p pace
				_, err := p.write(Reading{Wait: 30 * time.Second, Rate: 16 << 10}, make([]byte, 8<<20), write, func() { close(cut) })
				if tc.cut != errors.Is(err, errCut) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
