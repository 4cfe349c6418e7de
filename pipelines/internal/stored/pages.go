package stored

import (
	"cmp"
	"math"
	"slices"

	"github.com/modelserveai/modelserve/pipelines/record"
)

// Place is where a row is in a list.
type Place struct {
	CreatedAt int64
	ID        string
}

// Newest are the first of places, newest first.
func Newest(places []Place, most int) []Place {
	slices.SortFunc(places, func(a, b Place) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return places[:min(len(places), most)]
}

// Before is where a page begins, as rows have it: the time and id that its rows are
// before.
func Before(c record.Cursor) (at int64, id string) {
	if c.IsZero() {
		return math.MaxInt64, ""
	}
	return Millis(c.At), c.ID
}

// Limit is a page's or a batch's, within its bounds.
func Limit(asked, most int) int { return min(max(asked, 1), most) }

// Page is a page of executions, newest first, of which one more was read than it holds.
func Page(rows []Execution, limit int) *record.Page {
	page := &record.Page{}
	for i := range rows {
		if i == limit {
			page.Next = record.Cursor{At: Time(rows[i-1].CreatedAt), ID: rows[i-1].ID}
			break
		}
		page.Executions = append(page.Executions, rows[i].Execution())
	}
	return page
}

// DeadPage is a page of dead letters, likewise.
func DeadPage(rows []DeadLetter, limit int) *record.DeadPage {
	page := &record.DeadPage{}
	for i := range rows {
		if i == limit {
			page.Next = record.Cursor{At: Time(rows[i-1].At), ID: rows[i-1].ID}
			break
		}
		page.Letters = append(page.Letters, rows[i].DeadLetter())
	}
	return page
}

// HasLabels reports whether a row's labels are all of those that are asked for. One that
// cannot be read has none.
func HasLabels(row string, want map[string]string) bool {
	labels, err := parseTexts(row)
	if err != nil {
		return false
	}
	for key, value := range want {
		if has, ok := labels[key]; !ok || has != value {
			return false
		}
	}
	return true
}
