package textdetect

import (
	"bytes"
	"testing"

	"github.com/modelserveai/modelserve/codec/imaging"
)

func TestFlat(t *testing.T) {
	t.Parallel()
	m := imaging.New(6, 4)
	for i := range m.Pix {
		m.Pix[i] = 250
	}
	m.Row(1)[3*2+1] = 244 // at (2, 1)
	for name, tc := range map[string]struct {
		x0, y0, x1, y1 int
		tolerance      uint8
		want           bool
	}{
		"within tolerance":   {0, 0, 6, 4, 6, true},
		"beyond it":          {0, 0, 6, 4, 5, false},
		"beside it":          {3, 0, 6, 4, 0, true},
		"above it":           {0, 0, 6, 1, 0, true},
		"reaching outside":   {-5, -5, 50, 50, 5, false},
		"nothing":            {2, 1, 2, 1, 0, true},
		"outside":            {7, 7, 9, 9, 0, true},
		"from the other one": {2, 1, 6, 4, 5, false},
		"no overflow":        {0, 0, 2, 4, 255, true},
	} {
		if got := flat(m, tc.x0, tc.y0, tc.x1, tc.y1, tc.tolerance); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPadVerticalPutsBlackBands(t *testing.T) {
	t.Parallel()
	m := imaging.New(2, 1)
	copy(m.Pix, []uint8{1, 2, 3, 4, 5, 6})
	got := padVertical(m, 1)
	if want := append(append(make([]uint8, 6), m.Pix...), make([]uint8, 6)...); !bytes.Equal(got.Pix, want) {
		t.Errorf("got %v, want %v", got.Pix, want)
	}
}
