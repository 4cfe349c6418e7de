package serve

import (
	"io"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a writer that remembers the deadline for reading.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}

// trickle sends so many bytes each second, and fails past the deadline.
type trickle struct {
	of    *deadlines
	bytes int
}

func (s *trickle) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	if !s.of.read.IsZero() && time.Now().After(s.of.read) {
		return 0, io.ErrClosedPipe
	}
	return min(len(p), s.bytes), nil
}

// TestASlowSenderLosesItsPlace holds how long a body may take: as long as it comes at
// the least rate, and not much longer than BodyTimeout where it comes byte by byte.
func TestASlowSenderLosesItsPlace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rate, size  int // bytes a second, and in all
		paused      bool
		whole       bool
		least, most time.Duration
	}{
		"a byte a second":                   {1, 1 << 20, false, false, 25 * time.Second, 31 * time.Second},
		"half of the least rate":            {8 << 10, 8 << 20, false, false, 50 * time.Second, 61 * time.Second},
		"the least rate":                    {16 << 10, 8 << 20, false, true, 512 * time.Second, 512 * time.Second},
		"fast":                              {1 << 20, 8 << 20, false, true, 8 * time.Second, 8 * time.Second},
		"a byte a second, between messages": {1, 100, true, true, 100 * time.Second, 100 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
				s := &Server{cfg: Config{Limits: Limits{}.withDefaults()}}
				p := s.paced(w, &trickle{w, tc.rate})
				if tc.paused {
					p.pause(true)
				}
				began := time.Now()
				n, err := io.ReadFull(p, make([]byte, tc.size))
				took := time.Since(began)
				if (err == nil) != tc.whole || took < tc.least || took > tc.most {
					t.Errorf("%d bytes and %v after %v", n, err, took)
				}
				if p.lift(); !w.read.IsZero() {
					t.Error("a deadline is left")
				}
			})
		})
	}
}
