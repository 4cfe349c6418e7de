package room

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// user is one that has bytes or waits for them.
type user struct {
	of    Tenant
	n     int64
	place *Place
}

func (u *user) has() bool {
	select {
	case <-u.place.Given():
		return true
	default:
		return false
	}
}

// TestTheRoomIsKept holds, whoever comes, waits, leaves and goes, that no more is taken
// than there is, that each class keeps to its part, that nobody waits for what is
// there, and that all comes back.
func TestTheRoomIsKept(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		room := New(1 + r.Int64N(4000))
		var users []*user
		for range 400 {
			if i := r.IntN(len(users) + 1); i == len(users) || r.IntN(2) == 0 {
				of := room.Of(strconv.Itoa(r.IntN(3))).For(Class(r.IntN(int(Classes))))
				n := 1 + r.Int64N(1+of.Largest()/(1+r.Int64N(8)))
				users = append(users, &user{of, n, of.Ask(n, 0)})
			} else {
				gone(users[i])
				users = append(users[:i], users[i+1:]...)
			}
			check(t, room, users)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for _, u := range users {
			gone(u)
		}
		if room.used != 0 || len(room.by) != 0 || len(room.waiting) != 0 {
			t.Fatalf("seed %d: %d bytes are left, %d tenants, of whom %d wait", seed, room.used, len(room.by), len(room.waiting))
		}
	}
}

func gone(u *user) {
	if !u.place.Leave() {
		u.of.Release(u.n)
	}
}

// check looks at a room and at those that use it, from outside and from inside.
func check(t *testing.T, room *Room, users []*user) {
	t.Helper()
	held := map[Tenant]int64{}
	for _, u := range users {
		if u.has() {
			held[u.of] += u.n
		}
	}
	sum := int64(0)
	for of, n := range held {
		sum += n
		if got := room.by[of.name].has[of.class]; got != n {
			t.Errorf("%s has %d of class %d, counted %d", of.name, n, of.class, got)
		}
	}
	if sum != room.used || sum > room.most {
		t.Errorf("%d bytes are taken of %d, counted %d", sum, room.most, room.used)
	}
	for name, a := range room.by {
		if a.has[Early] > room.Of("").Largest()/4 || a.has[Arriving] > room.Of("").Largest()/4 || a.total > room.Of("").Largest() {
			t.Errorf("%s has %d bytes, of which %d are early", name, a.total, a.has[Early])
		}
		for _, queue := range a.queues {
			if len(queue) == 0 {
				continue
			}
			if room.fits(a, queue[0]) {
				t.Errorf("%s waits for %d bytes that are there", name, queue[0].n)
			}
			break // others may have to wait for this
		}
	}
}

// TestWhoIsServedFirst holds the order in which one tenant's are served.
func TestWhoIsServedFirst(t *testing.T) {
	t.Parallel()
	all := New(1600)
	of := all.Of("a tenant")
	first := of.Ask(800, 0)
	early, large, small := of.For(Early).Ask(200, 0), of.Ask(600, 0), of.Ask(100, 0)
	later := of.For(Early).Ask(50, 0)
	order := map[*Place]string{early: "early", large: "large", small: "small", later: "later"}
	expect := func(when string, want ...*Place) {
		t.Helper()
		given := map[*Place]bool{}
		for _, p := range want {
			given[p] = true
		}
		for p, name := range order {
			if (&user{place: p}).has() != given[p] {
				t.Errorf("%s: %s is given: %v", when, name, !given[p])
			}
		}
	}
	expect("while all is taken")
	of.Release(800)
	if first.Leave() {
		t.Error("who has bytes is in the queue")
	}
	expect("early ones, and not past the message that comes first", early, large)
	of.Release(600)
	expect("without room for more that is early", early, large, small)
	of.For(Early).Release(200)
	expect("with it", early, large, small, later)
}

// TestALargeMessageIsLetIn holds that a message which is larger than its class may have
// is let in alone, and that one which was compressed gets what it becomes first.
func TestALargeMessageIsLetIn(t *testing.T) {
	t.Parallel()
	all := New(1600)
	of := all.Of("a tenant")
	early := of.For(Early).Ask(200, 0)
	if more := of.For(Early).Ask(1, 0); early.Leave() || !more.Leave() {
		t.Error("early ones do not have a quarter")
	}
	of.For(Early).Release(200)
	part := of.Ask(500, 0)
	if other := of.Ask(1, 0); part.Leave() || !other.Leave() {
		t.Error("a large message is not alone")
	}
	grows, other := of.Ask(300, 500), of.Ask(1, 0)
	if grows.Leave() || !other.Leave() {
		t.Error("a message that was compressed does not come first")
	}
	of.Release(800)
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left", all.used)
	}
}

// TestWhoHasMoreComesFirst holds that of messages which grow the one that has most of the
// room gets more of it, alone, so that one ends.
func TestWhoHasMoreComesFirst(t *testing.T) {
	t.Parallel()
	all := New(1600)
	of := all.Of("a tenant")
	for _, n := range []int64{100, 200, 100} {
		if p := of.Ask(n, 0); p.Leave() {
			t.Fatalf("%d bytes are not there", n)
		}
	}
	few, many, last := of.Ask(200, 100), of.Ask(300, 200), of.Ask(200, 100)
	if many.Leave() || !few.Leave() || !last.Leave() {
		t.Error("the one that has most does not come first, or not alone")
	}
	of.Release(700)
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left", all.used)
	}
}

// TestAnAnswerThatIsSentComesFirst holds that one which is to be sent, and for which there
// is no room, has what comes back next, whatever else waits; and that one passes that is
// larger than its class may have.
func TestAnAnswerThatIsSentComesFirst(t *testing.T) {
	t.Parallel()
	all := New(1600)
	of := all.Of("a tenant")
	first, early := of.Ask(600, 0), of.For(Early).Ask(200, 0)
	answer, message := of.For(Passing).Ask(400, 0), of.Ask(100, 0)
	if first.Leave() || early.Leave() {
		t.Fatal("there is no room for what comes first")
	}
	of.Release(600)
	for _, p := range []*Place{answer, message} {
		if p.Leave() {
			t.Error("it waits for what is there")
		}
	}
	if second := of.For(Passing).Ask(1, 0); !second.Leave() {
		t.Error("there are more than a quarter")
	}
	of.For(Passing).Release(400)
	of.Release(100)
	of.For(Early).Release(200)
	if all.used != 0 || len(all.by) != 0 {
		t.Errorf("%d bytes are left", all.used)
	}
}

// TestNotManyWait holds that a tenant of which many wait is refused another, and that
// another tenant is not.
func TestNotManyWait(t *testing.T) {
	t.Parallel()
	all := New(1600)
	many, few := all.Of("many"), all.Of("few")
	if !many.TryAcquire(800) || !few.TryAcquire(400) {
		t.Fatal("there is no room")
	}
	var waiting []*Place
	for range all.mostWaiting() {
		waiting = append(waiting, many.Ask(100, 0))
	}
	if more := many.Ask(100, 0); !more.Refused() || more.Wait(t.Context(), time.Hour) || more.Leave() {
		t.Error("one more waits")
	}
	if other := few.Ask(100, 0); other.Refused() || !other.Leave() {
		t.Error("another tenant is refused")
	}
	for _, p := range waiting {
		if p.Refused() || !p.Leave() {
			t.Error("one that came before does not wait")
		}
	}
	many.Release(800)
	few.Release(400)
	if all.used != 0 || len(all.by) != 0 || len(all.waiting) != 0 {
		t.Errorf("%d bytes are left", all.used)
	}
}
