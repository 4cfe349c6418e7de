package textrecognize

import (
	"cmp"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/functions/internal/textimage"
)

const (
	height   = 48   // of a line, in pixels of the network
	minWidth = 320  // the network saw no narrower lines
	maxWidth = 9600 // longer lines are squeezed; 200 times as wide as high
	stride   = 32   // widths are rounded up to it, so that few shapes occur

	// Padding changes what the network reads: up to 160 pixels beside a line
	// changed none of 66 lines, twice the width two, 1280 pixels four.
	maxPadding = 160

	maxLines   = 6    // in one batch, as in the reference
	maxColumns = 3200 // in one batch: its answer takes 9 KB a column

	maxRuns = 4 // of one request at once, at most one a processor: a run uses one

	// columnsAtOnce is in all of a request's runs at once: a run of the longest line, whose
	// answer takes 86 MiB, or several of ordinary ones.
	columnsAtOnce = maxRuns * maxColumns
)

// lineBatch is lines that run together, at one width.
type lineBatch struct {
	lines []int
	width int
}

// scaledWidth is the width of a w×h line at the network's height.
func scaledWidth(w, h int) int {
	return int(min(math.Ceil(height*(float64(w)/float64(h))), maxWidth))
}

// batches groups lines of similar width, narrow ones first.
func batches(lines *textimage.Lines) []lineBatch {
	type candidate struct{ line, width int }
	order := make([]candidate, lines.Len())
	for i := range order {
		order[i] = candidate{i, scaledWidth(lines.Size(i))}
	}
	slices.SortStableFunc(order, func(a, b candidate) int { return cmp.Compare(a.width, b.width) })

	var out []lineBatch
	narrowest := 0
	for _, c := range order {
		width := (max(c.width, minWidth) + stride - 1) / stride * stride
		if last := len(out) - 1; last >= 0 {
			b := &out[last]
			if n := len(b.lines) + 1; n <= maxLines && n*width <= maxColumns && width-narrowest <= maxPadding {
				b.lines, b.width = append(b.lines, c.line), width
				continue
			}
		}
		out = append(out, lineBatch{lines: []int{c.line}, width: width})
		narrowest = max(c.width, minWidth)
	}
	return out
}
