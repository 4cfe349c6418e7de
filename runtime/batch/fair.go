package batch

import "slices"

// fairness shares the slots between tenants by start-time fair queueing (Goyal,
// Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996): each tenant has a tag,
// the time that its runs have cost; whoever has the least goes next. A tenant
// that was idle begins at the present, so it neither saved up nor owes.
//
// All of it is under Scheduler.mu.
type fairness struct {
	now     float64 // the tag of who was served last, in nanoseconds of cost
	top     float64 // the largest tag
	running int     // runs
	tenants map[string]*tenant
	active  []*tenant // those with something waiting
}

// tenant is a caller who shares the slots with others.
type tenant struct {
	name    string
	tag     float64
	pending float64  // what the runs under way are expected to add to it
	classes []*class // those with something waiting
	waiting int      // items
	running int      // items
}

// due is what a tenant has had, with what it is having: whoever has the least
// goes next. What is only expected counts in nothing that lasts.
func (t *tenant) due() float64 { return t.tag + t.pending }

func (t *tenant) dropClass(c *class) {
	at := slices.Index(t.classes, c)
	last := len(t.classes) - 1
	t.classes[at], t.classes[last] = t.classes[last], nil
	t.classes = t.classes[:last]
}

func newFairness() fairness { return fairness{tenants: map[string]*tenant{}} }

// tenant finds or makes a tenant.
func (f *fairness) tenant(name string) *tenant {
	t := f.tenants[name]
	if t == nil {
		t = &tenant{name: name, tag: f.now}
		f.tenants[name] = t
	}
	return t
}

// entered counts an item that waits.
func (f *fairness) entered(t *tenant) {
	if t.waiting == 0 {
		t.tag = max(t.tag, f.now)
		f.active = append(f.active, t)
	}
	t.waiting++
}

// left counts an item that waits no more.
func (f *fairness) left(t *tenant) {
	t.waiting--
	if t.waiting > 0 {
		return
	}
	for i := range f.active {
		if f.active[i] == t {
			last := len(f.active) - 1
			f.active[i] = f.active[last]
			f.active[last] = nil
			f.active = f.active[:last]
			return
		}
	}
}

// keptTenants are remembered though they owe nothing; maxTenants bounds those
// that do.
const (
	keptTenants = 64
	maxTenants  = 10_000
)

// forget drops a tenant who has nothing here and owes nothing. When nobody has,
// nothing is owed to anybody, and all begin at the same time again.
func (f *fairness) forget(t *tenant) {
	f.top = max(f.top, t.tag)
	if len(f.active) == 0 && f.running == 0 {
		f.now = f.top
	}
	if t.waiting > 0 || t.running > 0 || len(f.tenants) <= keptTenants {
		return
	}
	if t.tag <= f.now || len(f.tenants) > maxTenants {
		delete(f.tenants, t.name)
	}
}
