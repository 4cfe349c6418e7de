package infer

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Usage is what a call took of a function, which reports it in CostHeader.
type Usage struct {
	Rows     int64         // of the batch axis; of an input without one, 1
	Elements int64         // of all input tensors
	Compute  time.Duration // of runs, by the call's part of their rows
}

// UsageOf is what a run took for a request with these inputs: of a run of several
// requests its part by rows.
func UsageOf(inputs []Tensor, t Timing) Usage {
	u := Usage{Rows: int64(max(t.Rows, 1)), Compute: t.Infer}
	if t.Rows > 0 && t.BatchSize > t.Rows {
		u.Compute = t.Infer * time.Duration(t.Rows) / time.Duration(t.BatchSize)
	}
	for i := range inputs {
		u.Elements += inputs[i].Elements()
	}
	return u
}

// Add sums the usage of two calls, at most to the largest number there is.
func (u *Usage) Add(other Usage) {
	u.Rows = sum(u.Rows, other.Rows)
	u.Elements = sum(u.Elements, other.Elements)
	u.Compute = time.Duration(sum(int64(u.Compute), int64(other.Compute)))
}

// sum is a + b, neither of them negative.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// String writes a usage as CostHeader has it, a dictionary of RFC 9651:
// "rows=8, elements=6272, compute_ms=12.345".
func (u Usage) String() string {
	b := append(make([]byte, 0, 64), "rows="...)
	b = strconv.AppendInt(b, u.Rows, 10)
	b = strconv.AppendInt(append(b, ", elements="...), u.Elements, 10)
	b = append(b, ", compute_ms="...)
	return string(strconv.AppendFloat(b, float64(u.Compute)/float64(time.Millisecond), 'f', 3, 64))
}

// mostMillis is some thirty years, in milliseconds.
const mostMillis = 1e12

// ParseUsage reads a usage, and is false where the text is none. Members that are
// not known are left out, and a negative number is none.
func ParseUsage(text string) (Usage, bool) {
	var u Usage
	found := false
	for member := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		if strings.Trim(value, "0123456789.") != "" { // signs, hexadecimal, infinities
			value = ""
		}
		var err error
		switch name {
		case "rows":
			u.Rows, err = strconv.ParseInt(value, 10, 64)
		case "elements":
			u.Elements, err = strconv.ParseInt(value, 10, 64)
		case "compute_ms":
			var ms float64
			if ms, err = strconv.ParseFloat(value, 64); err == nil && (ms < 0 || !(ms < mostMillis)) {
				return Usage{}, false
			}
			u.Compute = time.Duration(ms * float64(time.Millisecond))
		default:
			continue
		}
		if err != nil {
			return Usage{}, false
		}
		found = true
	}
	return u, found && u.Rows >= 0 && u.Elements >= 0 && u.Compute >= 0
}
