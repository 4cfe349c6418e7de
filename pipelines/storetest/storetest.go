// Package storetest holds what every database of pipelines must do, for the tests of
// each adapter to run against its own.
package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
	"github.com/modelserveai/modelserve/pipelines/record"
)

// Database is one that a case has for itself.
type Database interface {
	// Open returns another Store on it, which the test's end closes.
	Open(t *testing.T) record.Store

	// Do runs a statement in it.
	Do(t *testing.T, statement string)
}

// bench is what a case works with.
type bench struct {
	record.Store
	db Database
}

// Run runs the conformance suite. open returns an empty database; it is called once for
// each case.
func Run(t *testing.T, open func(t *testing.T) Database) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, *bench){
		"what is accepted comes back as it was":                      roundTrip,
		"an execution may begin at once, or not before its time":     runAt,
		"an id is accepted once":                                     twice,
		"an idempotency key returns what it is of":                   idempotent,
		"an idempotency key ends":                                    keyEnds,
		"of those who come with a key at once, one is accepted":      keyRace,
		"a saved change comes back whole":                            saved,
		"a conflict saves nothing":                                   conflict,
		"of those who save at once, one does":                        saveRace,
		"nothing is due of what has ended, and nothing changes it":   ended,
		"what was never there is not saved":                          unknown,
		"what is due is claimed, and nothing else":                   claimed,
		"a claim ends, and begins again":                             claimEnds,
		"each tenant has its turn":                                   turns,
		"priorities are a tenant's own":                              prioritiesAreATenantsOwn,
		"each row is claimed once, whoever claims":                   claimRace,
		"what is sent is stored if it is as it was":                  sent,
		"what is given back comes again":                             returned,
		"a row that cannot be read keeps nothing from anybody":       damaged,
		"a schedule comes back as it was, and as it was saved":       schedules,
		"schedules are listed, the newest first":                     schedulesListed,
		"a tenant has so many schedules":                             schedulesBounded,
		"schedules that are due are taken, and nothing else":         schedulesDue,
		"each schedule is taken once, whoever takes":                 schedulesRace,
		"what waits is counted":                                      backlog,
		"voids make leases due":                                      voids,
		"executions are admitted within their pipeline's bound":      concurrency,
		"executions are admitted within their tenant's bound":        perTenant,
		"executions are admitted by priority, when their time comes": admitOrder,
		"an admission ends, and begins again":                        admissionEnds,
		"each execution is admitted once, whoever admits":            admitRace,
		"pages hold every execution once, newest first":              pages,
		"lists select":                                               lists,
		"events come in order, after one":                            events,
		"dead letters are listed, and note who replays them":         deadLetters,
		"a tenant sees nothing of another's":                         isolated,
		"a deleted execution leaves a stub":                          stub,
		"what has expired is forgotten, with all that it had":        expired,
		"versions are counted, and the same is the same":             versions,
		"of those who register at once, each has a version":          registerRace,
		"a tenant's own pipeline goes before a shipped one":          shipped,
		"a pipeline in use is not deleted, and one that was is gone": deletePipeline,
		"versions in use are those that something needs":             inUse,
		"pages of pipelines and versions hold every one once":        pipelinePages,
		"hostile text is only text":                                  hostile,
		"a cancelled caller is an error, and no fault of the store":  cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			check(t, &bench{db.Open(t), db})
		})
	}
}

const hold = time.Hour // longer than any case

// new is an execution that is not accepted yet.
func newExecution(tenant, id string) *execution.Execution {
	return &execution.Execution{
		ID: id, Tenant: tenant, Pipeline: "read", Version: 3, Digest: "sha256:1", Status: execution.Queued,
		Input: envelope.Value{JSON: json.RawMessage(`{"a":1}`)}, Events: 1,
		Segments: []execution.Segment{{Status: execution.Queued}}, Steps: []execution.Step{{Name: "detect", Status: execution.Queued}},
	}
}

// acceptance is of an execution of a pipeline that is the tenant's own.
func acceptance(x *execution.Execution) *record.Acceptance {
	return &record.Acceptance{
		Execution: x, Owner: x.Tenant,
		Change: execution.Change{Changed: true, Events: []execution.Event{{Number: 1, Type: execution.ExecutionAccepted, Status: execution.Queued}}},
	}
}

// accept stores an execution, changed before.
func (b *bench) accept(t *testing.T, tenant, id string, changes ...func(*record.Acceptance)) *execution.Execution {
	t.Helper()
	a := acceptance(newExecution(tenant, id))
	for _, change := range changes {
		change(a)
	}
	if _, err := b.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	return a.Execution
}

func (b *bench) load(t *testing.T, id string) *record.Loaded {
	t.Helper()
	l, err := b.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (b *bench) save(t *testing.T, x *execution.Execution, c execution.Change) {
	t.Helper()
	if err := b.Save(t.Context(), x, &c); err != nil {
		t.Fatal(err)
	}
}

// branch is one that is to be sent now.
func (b *bench) branch(x *execution.Execution, segment, item int) execution.Branch {
	return execution.Branch{
		BranchID: execution.BranchID{Execution: x.ID, Segment: segment, Item: item}, What: execution.Send, Due: x.Created, Priority: x.Priority,
	}
}

// begin has an execution run, with branches that are to be sent.
func (b *bench) begin(t *testing.T, x *execution.Execution, branches ...execution.Branch) {
	t.Helper()
	x.Status, x.Started, x.Deadline = execution.Running, x.Created, x.Created.Add(hold)
	x.Events++
	end := execution.Branch{BranchID: execution.Whole(x.ID), What: execution.End, Due: x.Deadline, Priority: x.Priority}
	b.save(t, x, execution.Change{
		Changed: true, Put: append(branches, end),
		Events: []execution.Event{{Number: x.Events, Type: execution.ExecutionStarted, Status: execution.Running, At: x.Started}},
	})
}

// end has an execution end.
func (b *bench) end(t *testing.T, x *execution.Execution, status execution.Status) {
	t.Helper()
	x.Status, x.Finished = status, x.Created.Add(time.Second)
	x.Events++
	kind := map[execution.Status]string{
		execution.Succeeded: execution.ExecutionSucceeded, execution.Failed: execution.ExecutionFailed, execution.Cancelled: execution.ExecutionCancelled,
	}[status]
	b.save(t, x, execution.Change{
		Changed: true, Remove: []execution.BranchID{execution.Whole(x.ID)},
		Events: []execution.Event{{Number: x.Events, Type: kind, Status: status, At: x.Finished}},
	})
}

func (b *bench) claim(t *testing.T, most int, held time.Duration) []execution.Branch {
	t.Helper()
	branches, err := b.Claim(t.Context(), most, held)
	if err != nil {
		t.Fatal(err)
	}
	return branches
}

func (b *bench) admit(t *testing.T, a record.Admission) []string {
	t.Helper()
	branches, err := b.Admit(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 0, len(branches))
	for _, branch := range branches {
		if branch.What != execution.Start || branch.BranchID != execution.Whole(branch.Execution) {
			t.Errorf("admitted %+v", branch)
		}
		ids = append(ids, branch.Execution)
	}
	return ids
}

// ids are the executions of branches, sorted.
func ids(branches []execution.Branch) []string {
	all := make([]string, 0, len(branches))
	for i := range branches {
		all = append(all, branches[i].Execution)
	}
	slices.Sort(all)
	return all
}

// atOnce runs several at the same time, and counts how many returned each error.
func atOnce(t *testing.T, n int, do func(i int) error) map[error]int {
	t.Helper()
	var mu sync.Mutex
	var work sync.WaitGroup
	counts := map[error]int{}
	begin := make(chan struct{})
	for i := range n {
		work.Go(func() {
			<-begin
			err := do(i)
			for errors.Is(err, record.ErrUnavailable) { // others write for longer than is waited for them: as services do
				err = do(i)
			}
			for _, known := range []error{record.ErrConflict, record.ErrOtherBody, record.ErrNotFound, record.ErrInUse} {
				if errors.Is(err, known) {
					err = known
				}
			}
			mu.Lock()
			defer mu.Unlock()
			counts[err]++
		})
	}
	close(begin)
	work.Wait()
	return counts
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}
