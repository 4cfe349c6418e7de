package execution

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/modelserveai/modelserve/problem"
)

// EventDamaged is the code of a failing answer to an event whose length or sha256
// is not what its extensions say: the step before is run again.
const EventDamaged = string(problem.EventDamaged)

// Failure is a failing answer of a step, or that there was none.
type Failure struct {
	Answer        // with the outputs of the steps of the chain before the one that failed
	Step   string // that failed; "" where that is not known
	Status int    // HTTP; 0 is none: the connection broke, or was refused
	// Transport reports that the answer is of something between here and the step (a
	// channel, an activator), not of the step: no problem object of ours was in it.
	Transport  bool
	RetryAfter time.Duration // that the answer asks for
	Problem    Problem       // zero where the answer had none
}

// Verdict is what follows from a failing answer.
type Verdict string

// The verdicts.
const (
	Retry Verdict = "retry" // an attempt: tried again while the step's `retry` allows
	Break Verdict = "break" // a process or connection: tried again, at most MaxBreaks times
	Dead  Verdict = "dead"  // not tried again
)

// MaxBreaks is how often a step is tried again for processes that died and
// connections that broke, beside its attempts.
const MaxBreaks = 5

// verdicts is the one table of failing answers: the first row that fits decides.
//
//nolint:gochecknoglobals // Constant, but Go has no constant slices.
var verdicts = []struct {
	from, to  int    // HTTP statuses, both included
	code      string // "" is any
	transport bool   // only answers of transport
	verdict   Verdict
}{
	{from: 0, to: 999, code: EventDamaged, verdict: Break},
	{from: 0, to: 0, verdict: Break}, // no answer
	{from: http.StatusRequestTimeout, to: http.StatusRequestTimeout, verdict: Retry},
	{from: http.StatusTooManyRequests, to: http.StatusTooManyRequests, verdict: Retry},
	{from: http.StatusNotFound, to: http.StatusNotFound, transport: true, verdict: Break}, // nothing is there yet
	{from: 400, to: 499, verdict: Dead},
	{from: http.StatusBadGateway, to: http.StatusBadGateway, code: string(problem.BadGateway), verdict: Break}, // a function broke off
	{from: 500, to: 599, transport: true, verdict: Break},
	{from: 500, to: 599, verdict: Retry},
	{from: 200, to: 299, verdict: Break}, // an answer that is no event of ours
	{from: 0, to: 999, verdict: Dead},    // informational, redirects, and what is no status
}

// Verdict is what the table says of f.
func (f *Failure) Verdict() Verdict {
	for _, row := range verdicts {
		if f.Status >= row.from && f.Status <= row.to && (row.code == "" || row.code == f.Problem.Code) && (!row.transport || f.Transport) {
			return row.verdict
		}
	}
	return Dead
}

// MaxDetail bounds a Problem's Detail, in bytes; the other texts of it have a
// quarter of that.
const MaxDetail = 2048

// Of is an error as a Problem, with what problem.From lets a client see.
func Of(err error) Problem {
	e := problem.From(err)
	row := e.Code.Row()
	return Problem{
		Type: "https://modelserve.dev/problems/" + string(e.Code), Title: row.Title, Status: row.Status, Detail: e.Detail, Code: string(e.Code),
	}.clipped()
}

// problem is what the execution keeps of f: the answer's own, or what its status says.
func (f *Failure) problem() Problem {
	p := f.Problem
	switch {
	case p.Code != "" || p.Detail != "" || p.Title != "":
	case f.Status == 0:
		p = Of(problem.New(problem.BadGateway, "the connection to the step broke before it answered"))
	case f.Status >= 200 && f.Status <= 299:
		p = Of(problem.New(problem.BadGateway, "the step answered with what is not an answer to its event"))
	default:
		p = Problem{Title: http.StatusText(f.Status), Status: f.Status, Detail: "the step failed and gave no reason"}
	}
	if p.Status == 0 {
		p.Status = f.Status
	}
	return p.clipped()
}

func (p Problem) clipped() Problem {
	p.Type, p.Title, p.Code = clip(p.Type, MaxDetail/4), clip(p.Title, MaxDetail/4), clip(p.Code, MaxDetail/4)
	p.Detail = clip(p.Detail, MaxDetail)
	return p
}

// clip cuts text to n bytes at most, between characters, and makes it UTF-8
// without NUL, which PostgreSQL's texts do not have.
func clip(text string, n int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
