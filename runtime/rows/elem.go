package rows

import "math"

// scalar computes one element of elements; false where the number of rows is in
// one, and what comes out of it is no multiple of it.
type scalar func(s *symbols, in []elem) (elem, bool)

// opaque is what is computed of elements by what is not followed.
func opaque(_ *symbols, in []elem) (elem, bool) {
	for _, e := range in {
		if e.hasRows() {
			return elem{}, false
		}
	}
	return elem{}, true
}

// wholes gives a scalar of two integers, other elements being opaque.
func wholes(f func(s *symbols, a, b mono) (mono, bool)) scalar {
	return func(s *symbols, in []elem) (elem, bool) {
		if len(in) != 2 || in[0].kind != whole || in[1].kind != whole {
			return opaque(s, in)
		}
		if m, ok := f(s, in[0].n, in[1].n); ok && narrow(m) {
			return elem{kind: whole, n: m}, true
		}
		return opaque(s, in)
	}
}

// narrow reports whether a number is as it is in 32 bits too: which an operator
// computes in is not followed, and what is beyond them wraps around. Of sizes,
// products of a few are as large as a tensor at most.
func narrow(m mono) bool {
	return m.coef >= math.MinInt32 && m.coef <= math.MaxInt32 && len(m.syms) <= 4*symbolSize
}

// computed is a symbol for what an operation gives of integers.
func computed(s *symbols, b bound, op string, a, o mono) (mono, bool) {
	if a.hasRows() || o.hasRows() {
		return mono{}, false
	}
	return s.of(b, op, a, o), true
}

func add(s *symbols, a, b mono) (mono, bool) {
	switch {
	case a.coef == 0:
		return b, true
	case b.coef == 0:
		return a, true
	case a.syms == b.syms:
		sum := a.coef + b.coef
		if (sum > a.coef) != (b.coef > 0) {
			return mono{}, false
		}
		if sum == 0 {
			return number(0), true
		}
		return mono{sum, a.syms}, true
	}
	if b.coef < a.coef || b.coef == a.coef && b.syms < a.syms {
		a, b = b, a
	}
	least := min(s.bound(a), s.bound(b))
	if least == notNegative && max(s.bound(a), s.bound(b)) == positive {
		least = positive
	}
	return computed(s, least, "add", a, b)
}

func sub(s *symbols, a, b mono) (mono, bool) {
	switch {
	case b.coef == 0:
		return a, true
	case b.coef == math.MinInt64:
		return mono{}, false
	case a.syms == b.syms || a.coef == 0:
		b.coef = -b.coef
		return add(s, a, b)
	}
	return computed(s, anything, "sub", a, b)
}

func mul(s *symbols, a, b mono) (mono, bool) {
	if m, ok := a.times(b); ok {
		return m, true
	}
	return computed(s, min(s.bound(a), s.bound(b)), "mul", a, b)
}

func div(s *symbols, a, b mono) (mono, bool) {
	if m, ok := a.over(b); ok {
		return m, true
	}
	x, isX := a.constant()
	y, isY := b.constant()
	if isX && isY && y > 0 {
		return number(x / y), true
	}
	return computed(s, min(s.bound(a), s.bound(b), notNegative), "div", a, b)
}

func mod(s *symbols, a, b mono) (mono, bool) {
	x, isX := a.constant()
	y, isY := b.constant()
	if isX && isY && x >= 0 && y > 0 {
		return number(x % y), true
	}
	return computed(s, anything, "mod", a, b)
}

func lesser(s *symbols, a, b mono) (mono, bool)  { return extreme(s, a, b, "min", false) }
func greater(s *symbols, a, b mono) (mono, bool) { return extreme(s, a, b, "max", true) }

func extreme(s *symbols, a, b mono, op string, largest bool) (mono, bool) {
	if a == b {
		return a, true
	}
	if less, ok := below(s, a, b); ok {
		if less == largest {
			return b, true
		}
		return a, true
	}
	return computed(s, min(s.bound(a), s.bound(b)), op, a, b)
}

// below reports whether a < b holds in all runs, or in none; false where neither is
// known.
func below(s *symbols, a, b mono) (less, ok bool) {
	switch {
	case a == b:
		return false, true
	case a.syms == "" && b.syms == "":
		return a.coef < b.coef, true
	case a.syms == b.syms && s.bound(mono{1, a.syms}) == positive:
		return a.coef < b.coef, true
	}
	if n, constant := b.constant(); constant {
		if least := s.bound(a); least == positive && n <= 1 || least == notNegative && n <= 0 {
			return false, true
		}
	}
	if n, constant := a.constant(); constant {
		if least := s.bound(b); least == positive && n < 1 || least == notNegative && n < 0 {
			return true, true
		}
	}
	return false, false
}

// equal reports whether a and b are equal in all runs, or in none.
func equal(s *symbols, a, b mono) (is, ok bool) {
	if a == b {
		return true, true
	}
	if less, known := below(s, a, b); known && less {
		return false, true
	}
	if less, known := below(s, b, a); known && less {
		return false, true
	}
	return false, false
}

// truth is a scalar of a comparison.
func truth(f func(s *symbols, a, b mono) (is, ok bool)) scalar {
	return wholes(func(s *symbols, a, b mono) (mono, bool) {
		is, ok := f(s, a, b)
		return number(bit(is)), ok
	})
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func notBelow(s *symbols, a, b mono) (is, ok bool) {
	is, ok = below(s, a, b)
	return !is, ok
}

// logic is a scalar of truth values that are known.
func logic(f func(a, b bool) bool) scalar {
	return wholes(func(_ *symbols, a, b mono) (mono, bool) {
		return number(bit(f(a.coef != 0, b.coef != 0))), a.syms == "" && b.syms == ""
	})
}

func not(s *symbols, in []elem) (elem, bool) {
	if n, ok := in[0].constant(); ok {
		return integer(bit(n == 0)), true
	}
	return opaque(s, in)
}

func negate(s *symbols, in []elem) (elem, bool) {
	if e := in[0]; e.kind == whole && e.n.coef != math.MinInt64 {
		if e.n.coef = -e.n.coef; narrow(e.n) {
			return e, true
		}
	}
	return opaque(s, in)
}

func magnitude(s *symbols, in []elem) (elem, bool) {
	if in[0].kind == whole && s.bound(in[0].n) != anything {
		return in[0], true
	}
	return opaque(s, in)
}

func keep(_ *symbols, in []elem) (elem, bool) { return in[0], true }

// choose is Where's.
func choose(s *symbols, in []elem) (elem, bool) {
	if n, ok := in[0].constant(); ok {
		if n != 0 {
			return in[1], true
		}
		return in[2], true
	}
	if in[1].kind == whole && in[1] == in[2] {
		return in[1], true
	}
	return opaque(s, in)
}
