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

// Add sums the usage of two calls. What is more than can be counted is the most that
// can: none becomes a credit.
func (u *Usage) Add(other Usage) {
	u.Rows = sum(u.Rows, other.Rows)
	u.Elements = sum(u.Elements, other.Elements)
	u.Compute = sum(u.Compute, other.Compute)
}

// sum adds what is not negative.
func sum[T ~int64](a, b T) T {
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

// ParseUsage reads a usage, and is false where the text is none: where a number is not
// written as RFC 9651 has it (3.3.1, 3.3.2) or is negative. Members that are not known
// are left out.
func ParseUsage(text string) (Usage, bool) {
	var u Usage
	found := false
	for member := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		var ok bool
		switch name {
		case "rows":
			u.Rows, ok = digits(value, 15)
		case "elements":
			u.Elements, ok = digits(value, 15)
		case "compute_ms":
			u.Compute, ok = millis(value)
		default:
			continue
		}
		if !ok {
			return Usage{}, false
		}
		found = true
	}
	return u, found
}

// millis reads a decimal of milliseconds, at most some thirty years.
func millis(text string) (time.Duration, bool) {
	whole, part, dotted := strings.Cut(text, ".")
	n, ok := digits(whole, 12)
	if !dotted || !ok {
		return time.Duration(n) * time.Millisecond, ok
	}
	µs, ok := digits((part + "000")[:max(3, len(part))], 3)
	return time.Duration(n)*time.Millisecond + time.Duration(µs)*time.Microsecond, ok && part != ""
}

// digits reads a number of at most so many digits, and nothing else.
func digits(text string, most int) (int64, bool) {
	if text == "" || len(text) > most || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
