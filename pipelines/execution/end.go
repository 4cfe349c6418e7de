package execution

import (
	"time"

	"github.com/modelserveai/modelserve/problem"
)

// Cancel ends an execution that has not ended, at once: nothing of it starts any
// more, and what still comes of it is late. As TimeOut and Fail it needs no plan, so
// that an execution whose version cannot be read any more has an end too.
func Cancel(x *Execution, branches []Branch, now time.Time) Change {
	return end(x, branches, Cancelled, ExecutionCancelled, nil, now)
}

// TimeOut ends an execution whose deadline has come as failed.
func TimeOut(x *Execution, branches []Branch, now time.Time) Change {
	if x.Status != Running || x.Deadline.After(now) {
		return Change{}
	}
	p := Of(problem.New(problem.DeadlineExceeded, "the pipeline's timeout of %s passed before the execution ended", x.Deadline.Sub(x.Started)))
	return end(x, branches, Failed, ExecutionFailed, &p, now)
}

// Fail ends an execution that cannot begin.
func Fail(x *Execution, branches []Branch, p Problem, now time.Time) Change {
	if x.Status != Queued {
		return Change{}
	}
	return end(x, branches, Failed, ExecutionFailed, &p, now)
}

func end(x *Execution, branches []Branch, status Status, kind string, p *Problem, now time.Time) Change {
	if x.Status.Ended() {
		return Change{}
	}
	t := &transition{x: x, branches: branches, now: now}
	t.finish(status, kind, p)
	return t.c
}
