package record_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/modelserveai/modelserve/pipelines/record"
)

func TestCursorsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, c := range []record.Cursor{
		{},
		{At: time.UnixMilli(1).UTC(), ID: "a"},
		{At: time.Date(2026, 11, 30, 1, 2, 3, 4e6, time.UTC), ID: strings.Repeat("é", 200)},
	} {
		got, err := record.ParseCursor(c.String())
		if err != nil || got != c {
			t.Errorf("%v comes back as %v, %v", c, got, err)
		}
	}
}

func TestWhatIsNoCursorIsRefused(t *testing.T) {
	t.Parallel()
	good := record.Cursor{At: time.UnixMilli(1).UTC(), ID: "abc"}.String()
	for name, text := range map[string]string{
		"no base64":       "%",
		"padded":          good + "=",
		"cut":             good[:8],
		"another version": "B" + good[1:],
		"too long":        strings.Repeat("A", 4096),
		"a space":         good + " ",
		"no time":         "AQAAAAAAAAAAYQ",
		"before 1970":     "Af__________YQ",
	} {
		if c, err := record.ParseCursor(text); !errors.Is(err, record.ErrCursor) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add(record.Cursor{At: time.UnixMilli(1_700_000_000_000).UTC(), ID: "x"}.String())
	f.Add("AQAAAAAAAAAAYQ")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := record.ParseCursor(text)
		if err == nil && c.String() != text {
			t.Errorf("%q is %v, which is %q", text, c, c)
		}
	})
}
