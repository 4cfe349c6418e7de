package drawing

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/modelserveai/modelserve/pipelines/plan"
)

// The marks of steps.
const (
	markPlain   = '●'
	markWhen    = '◆'
	markForEach = '▣'
	markOutside = '○'
)

// Text is the graph as lines for a terminal, the first steps first: each step a mark,
// its name, what it calls and what is special about it, and lines from each to those
// that wait for it. ● runs always, ◆ has a condition, ▣ repeats, ○ is not ours.
func Text(p *plan.Plan) string {
	t := terminal{}
	after := dependents(p)
	for _, i := range order(p) {
		s := &p.Definition.Steps[i]
		mark := markPlain
		switch {
		case s.ForEach != nil:
			mark = markForEach
		case s.When != "":
			mark = markWhen
		case s.URI != "":
			mark = markOutside
		}
		t.step(i, mark, after[i], s.Name, runs(s), strings.Join(notes(s), "; "))
	}
	return t.String()
}

// terminal is a drawing as it grows downwards. Each column is free, or has a line that
// goes to a step further down.
type terminal struct {
	columns []int // the step that a column's line goes to; free is none
	rows    []row
	last    int // the column of the last step
}

const free = -1

// row is a line of a drawing; one without texts has lines alone.
type row struct {
	graph string
	texts []string
}

// step adds a step, below all that it waits for: the lines that end at it, it, and the
// lines that begin at it.
func (t *terminal) step(index int, mark rune, next []int, texts ...string) {
	var ends []int
	for column, to := range t.columns {
		if to == index {
			ends = append(ends, column)
		}
	}
	if len(ends) == 0 {
		if len(t.rows) > 0 && t.columns[t.last] == free { // else it could seem to follow the last one
			t.add(t.line, nil, nil)
		}
		ends = []int{t.free(0, index)}
	}
	at := ends[0]
	t.last = at
	if len(ends) > 1 {
		t.join(at, ends[1:], '┴', '╯')
		for _, column := range ends[1:] {
			t.columns[column] = free
		}
	}
	t.add(func(column int) rune {
		if column == at {
			return mark
		}
		return t.line(column)
	}, nil, texts)
	t.columns[at] = free
	var begins []int
	for i, to := range next {
		if i == 0 {
			t.columns[at] = to
			continue
		}
		begins = append(begins, t.free(at+1, to))
	}
	if len(begins) > 0 {
		t.join(at, begins, '┬', '╮')
	}
}

// free takes the first free column from one on for a line to a step.
func (t *terminal) free(from, to int) int {
	for column := from; column < len(t.columns); column++ {
		if t.columns[column] == free {
			t.columns[column] = to
			return column
		}
	}
	t.columns = append(t.columns, to)
	return len(t.columns) - 1
}

// join adds a row in which columns, all to the right of one and in ascending order, come
// together with it.
func (t *terminal) join(at int, columns []int, middle, end rune) {
	last := columns[len(columns)-1]
	t.add(func(column int) rune {
		switch {
		case column == at:
			return '├'
		case column == last:
			return end
		case slices.Contains(columns, column):
			return middle
		case column > at && column < last && t.columns[column] == free:
			return '─'
		case column > at && column < last:
			return '┼'
		default:
			return t.line(column)
		}
	}, func(column int) bool { return column >= at && column < last }, nil)
}

// line is what goes down in a column.
func (t *terminal) line(column int) rune {
	if t.columns[column] == free {
		return ' '
	}
	return '│'
}

// add adds a row: what is in each column, and whether it goes on to the next.
func (t *terminal) add(in func(column int) rune, on func(column int) bool, texts []string) {
	var b strings.Builder
	for column := range t.columns {
		b.WriteRune(in(column))
		if on != nil && on(column) {
			b.WriteRune('─')
		} else {
			b.WriteByte(' ')
		}
	}
	t.rows = append(t.rows, row{strings.TrimRight(b.String(), " "), texts})
}

// String is the drawing with its texts in columns.
func (t *terminal) String() string {
	var graph int
	var widths []int
	for _, r := range t.rows {
		graph = max(graph, utf8.RuneCountInString(r.graph))
		for i, text := range r.texts {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		line := pad(r.graph, graph)
		for i, text := range r.texts {
			line += "  " + pad(text, widths[i])
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
