package control

import (
	"strconv"
	"strings"
	"unicode"
)

// classOf lists the characters of some tables as a regular expression's class
// has them, written out: not every engine knows their names.
func classOf(tables ...*unicode.RangeTable) string {
	var class strings.Builder
	add := func(from, to, stride rune) {
		if stride > 1 {
			for r := from; r <= to; r += stride {
				class.WriteString(escape(r))
			}
			return
		}
		class.WriteString(escape(from))
		if to > from {
			class.WriteString("-" + escape(to))
		}
	}
	for _, table := range tables {
		for _, r := range table.R16 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range table.R32 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return class.String()
}

// escape writes a character of a class: those of Latin-1 as \x00, others as they
// are.
func escape(r rune) string {
	if r <= 0xff {
		return `\x` + strconv.FormatInt(int64(r)+0x100, 16)[1:]
	}
	return string(r)
}
