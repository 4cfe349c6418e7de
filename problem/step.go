package problem

import (
	"encoding/json"
	"math"
	"net/http"
	"time"
	"unicode/utf8"
)

// MaxStep is the most bytes that WriteStep writes: of the answer of a step that failed
// a dead letter keeps its first 768.
const MaxStep = 700

// Step is the step that failed, and what it took before.
type Step struct {
	Name      string  // "" as long as it is not known
	Rows      int64   // of the batch axis, that were run for it
	ComputeMS float64 // milliseconds of processors and GPU
}

// stepBody is what WriteStep writes. What decides comes first.
type stepBody struct {
	Code       Code    `json:"code"`
	RetryAfter int     `json:"retry_after"` // seconds; 0 is none
	Step       string  `json:"step"`
	Rows       int64   `json:"rows,omitempty"`
	ComputeMS  float64 `json:"compute_ms,omitempty"`
	Status     int     `json:"status"`
	RequestID  string  `json:"request_id"`
	Detail     string  `json:"detail"`
	Title      string  `json:"title"`
	Type       string  `json:"type"`
}

// WriteStep answers the event of a pipeline's step with err, as application/problem+json
// of at most MaxStep bytes whose first members are code, retry_after and step. The detail
// is cut where it must be.
func WriteStep(w http.ResponseWriter, err error, step Step) {
	e := From(err)
	row := e.Code.Row()
	body := stepBody{
		Code:       e.Code,
		RetryAfter: int(math.Ceil(e.RetryAfter.Seconds())),
		Step:       step.Name,
		Rows:       max(step.Rows, 0),
		ComputeMS:  finite(step.ComputeMS),
		Status:     row.Status,
		RequestID:  w.Header().Get(RequestIDHeader),
		Detail:     e.Detail,
		Title:      row.Title,
		Type:       "https://modelserve.dev/problems/" + string(e.Code),
	}
	shorten(&body)
	write(w, "application/problem+json", e, body)
}

// WriteEvent answers an event that is of no pipeline with err: as Write does where that
// has at most MaxStep bytes, and else as WriteStep, since Knative's dispatcher ends at a
// failure of more than 768.
func WriteEvent(w http.ResponseWriter, err error) {
	text, fault := json.Marshal(bodyOf(w, From(err)))
	if fault == nil && len(text)+len("\n") <= MaxStep {
		Write(w, err)
		return
	}
	WriteStep(w, err, Step{})
}

// shorten cuts a body's texts, the detail last of all, until it is short enough.
func shorten(body *stepBody) {
	size := func() int {
		text, err := json.Marshal(body)
		if err != nil { // strings and numbers only: cannot happen
			panic(err)
		}
		return len(text) + len("\n")
	}
	for _, text := range []*string{&body.Type, &body.Title} {
		if size() > MaxStep {
			*text = ""
		}
	}
	for _, text := range []*string{&body.RequestID, &body.Detail, &body.Step} {
		for over := size() - MaxStep; over > 0 && *text != ""; over = size() - MaxStep {
			*text = cut(*text, over)
		}
	}
}

// cut is a text without some bytes at its end, that a mark stands for where it fits.
func cut(text string, bytes int) string {
	const mark = "…"
	most := len(text) - max(bytes/6, 1) - len(mark) // one byte may be six in JSON
	if most <= 0 {
		return ""
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + mark
}

// ParseStep reads what WriteStep wrote. It is false for any other text, as a proxy
// before the function writes, and for one that is cut.
func ParseStep(text []byte) (e *Error, step Step, ok bool) {
	var body stepBody
	if err := json.Unmarshal(text, &body); err != nil || !body.Code.Known() {
		return nil, Step{}, false //nolint:nilerr // it is another text
	}
	const most = int64(math.MaxInt64 / time.Second)
	after := time.Duration(min(max(int64(body.RetryAfter), 0), most)) * time.Second
	return &Error{Code: body.Code, Detail: body.Detail, RetryAfter: after}, Step{body.Step, max(body.Rows, 0), finite(body.ComputeMS)}, true
}

// finite is a number that JSON has and that is not negative; 0 for any other.
func finite(n float64) float64 {
	if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return 0
	}
	return n
}
