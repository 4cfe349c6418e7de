package rows

import (
	"encoding/binary"
	"math"
	"strings"
)

// mono is a coefficient times symbols, one of which is the number of rows: a
// dimension of a tensor, or an element of shape arithmetic. Equal monomials are
// equal numbers in every run; different ones may be equal in some.
type mono struct {
	coef int64
	syms string // four bytes each, in order, one for each power
}

// symbolSize is that of one symbol in a mono; maxSymbols bounds how many it has.
const (
	symbolSize = 4
	maxSymbols = 12
)

// rowSymbol is the number of rows, which no context fixes.
const rowSymbol = "\x00\x00\x00\x00"

func number(n int64) mono { return mono{coef: n} }

func rowCount() mono { return mono{coef: 1, syms: rowSymbol} }

// literal reports whether m is the number n.
func (m mono) literal(n int64) bool { return m.coef == n && m.syms == "" }

// constant is m's value, where it has no symbols.
func (m mono) constant() (int64, bool) { return m.coef, m.syms == "" }

// hasRows reports whether the number of rows is in m.
func (m mono) hasRows() bool { return strings.HasPrefix(m.syms, rowSymbol) }

// perRow is m without the number of rows, once; false where it is not in it
// exactly once.
func (m mono) perRow() (mono, bool) {
	if !m.hasRows() {
		return mono{}, false
	}
	m.syms = m.syms[symbolSize:]
	return m, !m.hasRows()
}

// times is a product; false where it is beyond what is kept.
func (m mono) times(o mono) (mono, bool) {
	c := m.coef * o.coef
	if m.coef != 0 && (c/m.coef != o.coef || m.coef == -1 && o.coef == math.MinInt64) {
		return mono{}, false
	}
	if c == 0 {
		return mono{}, true
	}
	if len(m.syms)+len(o.syms) > maxSymbols*symbolSize {
		return mono{}, false
	}
	if m.syms == "" || o.syms == "" {
		return mono{c, m.syms + o.syms}, true
	}
	out := make([]byte, 0, len(m.syms)+len(o.syms))
	a, b := m.syms, o.syms
	for a != "" && b != "" {
		if a[:symbolSize] <= b[:symbolSize] {
			out, a = append(out, a[:symbolSize]...), a[symbolSize:]
		} else {
			out, b = append(out, b[:symbolSize]...), b[symbolSize:]
		}
	}
	return mono{c, string(out) + a + b}, true
}

// over is a quotient that is exact whatever the symbols are; false without one.
func (m mono) over(o mono) (mono, bool) {
	if o.coef == 0 || o.coef == -1 || m.coef%o.coef != 0 {
		return mono{}, false
	}
	if o.syms == "" {
		return mono{m.coef / o.coef, m.syms}, true
	}
	out := make([]byte, 0, len(m.syms))
	a, b := m.syms, o.syms
	for a != "" {
		if b != "" && a[:symbolSize] == b[:symbolSize] {
			b = b[symbolSize:]
		} else {
			out = append(out, a[:symbolSize]...)
		}
		a = a[symbolSize:]
	}
	return mono{m.coef / o.coef, string(out)}, b == ""
}

// bound is the least that a symbol may be.
type bound int8

const (
	anything bound = iota
	notNegative
	positive
)

// symbols are those that stand for what is the same in all runs of requests
// that may be joined, and the number of rows.
type symbols struct {
	bounds []bound
	known  map[string]mono // by what they were computed from
	full   bool            // there were too many: nothing that was found holds
}

// maxKnown bounds the symbols of a walk.
const maxKnown = 1 << 19

func newSymbols() *symbols {
	return &symbols{bounds: []bound{positive}, known: map[string]mono{}} // the number of rows is first
}

// fresh is a new symbol.
func (s *symbols) fresh(b bound) mono {
	if len(s.bounds) >= maxKnown {
		s.full = true
		return number(0)
	}
	s.bounds = append(s.bounds, b)
	return mono{1, string(binary.BigEndian.AppendUint32(nil, uint32(len(s.bounds)-1)))}
}

// of is the symbol of what the same computation gives of the same operands.
func (s *symbols) of(b bound, op string, operands ...mono) mono {
	key := []byte(op)
	for _, m := range operands {
		key = binary.AppendVarint(append(key, '|'), m.coef)
		key = append(binary.AppendUvarint(key, uint64(len(m.syms))), m.syms...)
	}
	if m, ok := s.known[string(key)]; ok {
		return m
	}
	m := s.fresh(b)
	s.known[string(key)] = m
	return m
}

// bound is the least that m may be.
func (s *symbols) bound(m mono) bound {
	if m.coef < 0 {
		return anything
	}
	if m.coef == 0 {
		return notNegative
	}
	least := positive
	for syms := m.syms; syms != ""; syms = syms[symbolSize:] {
		least = min(least, s.bounds[binary.BigEndian.Uint32([]byte(syms))])
	}
	return least
}
