package process

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"whole", []string{"a\nb\n"}, []string{"a", "b"}},
		{"in pieces", []string{"a", "b\nc", "", "\n"}, []string{"ab", "c"}},
		{"no end", []string{"a\nb"}, []string{"a", "b"}},
		{"windows", []string{"a\r\n"}, []string{"a"}},
		{"blank", []string{"\n\n"}, []string{"", ""}},
		{"too long", []string{long + "yz\n"}, []string{long, "yz"}},
		{"too long in pieces", []string{long[1:], "xyz", "\n"}, []string{long, "yz"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			l := &lines{each: func(b []byte) { got = append(got, string(b)) }}
			for _, w := range tc.writes {
				if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
					t.Fatalf("write: %d, %v", n, err)
				}
			}
			l.flush()
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%.300s", diff)
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb", uint(1))
	f.Add(strings.Repeat("x", 2*maxLine+1)+"\n", uint(1000))
	f.Fuzz(func(t *testing.T, text string, size uint) {
		var got int
		l := &lines{each: func(b []byte) {
			if len(b) > maxLine {
				t.Fatalf("line of %d bytes", len(b))
			}
			got += len(b)
		}}
		for rest := text; rest != ""; {
			n := min(len(rest), int(size%4096)+1)
			if _, err := l.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		l.flush()
		if got > len(text) || got < len(strings.NewReplacer("\n", "", "\r", "").Replace(text)) {
			t.Errorf("%d bytes of %d came out", got, len(text))
		}
	})
}
