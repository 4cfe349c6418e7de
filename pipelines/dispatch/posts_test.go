package dispatch

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// offered runs posts whose work ends when it is let.
type offered struct {
	*posts

	began []string
	ends  map[string]chan struct{}
	freed atomic.Int64
	back  []string // given back
}

func newOffered(most, perTenant int) *offered {
	o := &offered{ends: map[string]chan struct{}{}}
	o.posts = newPosts(most, perTenant, func(run func()) { go run() }, func() { o.freed.Add(1) })
	return o
}

func (o *offered) put(name string, until time.Duration) bool {
	end := make(chan struct{})
	o.ends[name] = end
	ok := o.offer(name[:1], time.Now().Add(until), func() {
		o.began = append(o.began, name)
		<-end
	}, func() { o.back = append(o.back, name) })
	synctest.Wait()
	return ok
}

func (o *offered) end(name string) {
	close(o.ends[name])
	synctest.Wait()
}

func (o *offered) take() []string {
	began := o.began
	o.began = nil
	return began
}

func TestTenantsHaveTheirShareAndTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffered(4, 2)
		for i, ok := range []bool{true, true, true, true, false} {
			if got := o.put(fmt.Sprintf("a%d", i+1), time.Hour); got != ok {
				t.Errorf("a%d: %v", i+1, got)
			}
		}
		began := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, o.take()); diff != "" {
				t.Errorf("began (-want +got):\n%s", diff)
			}
		}
		began("a1", "a2")
		if used, queued := o.counts(); used != 2 || queued != 2 || o.room() != 1 { // for others
			t.Errorf("%d used, %d queued, room for %d", used, queued, o.room())
		}
		o.put("b1", time.Hour)
		o.put("b2", time.Hour)
		o.put("b3", time.Minute)
		o.put("c1", time.Hour)
		began("b1", "b2")
		if o.room() != 0 {
			t.Errorf("room for %d, and every place is taken", o.room())
		}
		o.end("a1")
		began("a3")
		time.Sleep(2 * time.Minute)
		o.end("b1") // b3 is somebody else's by now
		began("c1")
		o.end("c1")
		o.end("b2")
		began()
		o.end("a2")
		began("a4")
		o.put("a5", time.Hour)
		o.put("a6", time.Hour)
		began()
		o.close()
		if diff := cmp.Diff([]string{"a5", "a6"}, o.back); diff != "" {
			t.Errorf("given back (-want +got):\n%s", diff)
		}
		if o.put("d1", time.Hour) || o.room() != 0 {
			t.Error("something began after the end")
		}
		waited := make(chan struct{})
		go func() { o.wait(); close(waited) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("it ended with work to do")
		default:
		}
		o.end("a3")
		o.end("a4")
		<-waited
		if o.freed.Load() != 7 || len(o.tenants) != 0 {
			t.Errorf("%d places were freed; %d tenants are left", o.freed.Load(), len(o.tenants))
		}
	})
}

// TestTwoTenantsLeaveRoomForOthers holds that what waits for its tenant's places does not
// keep others from those that are free.
func TestTwoTenantsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffered(16, 4)
		for i := range 8 {
			o.put(fmt.Sprintf("a%d", i), 30*time.Second)
			o.put(fmt.Sprintf("b%d", i), 30*time.Second)
		}
		if used, queued := o.counts(); used != 8 || queued != 8 || o.room() == 0 {
			t.Errorf("%d of 16 places are used, %d wait for their tenants' own, and there is room for %d", used, queued, o.room())
		}
		o.take()
		o.put("c1", 30*time.Second)
		if diff := cmp.Diff([]string{"c1"}, o.take()); diff != "" {
			t.Errorf("began (-want +got):\n%s", diff)
		}
		o.close()
		for _, end := range o.ends {
			close(end)
		}
		o.wait()
	})
}
