package architecture

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWhatHoldsPromisesExists holds that every test that docs/security.md and
// docs/failures.md name is there, and that every line of what nobody may do, and of what
// went wrong elsewhere, names one.
func TestWhatHoldsPromisesExists(t *testing.T) {
	t.Parallel()
	for page, least := range map[string]int{"security.md": 30, "failures.md": 30} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			holds(t, page, least)
		})
	}
}

// holds looks at the tables of a page, whose last column names tests, at least so many.
func holds(t *testing.T, page string, least int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9_/-]+)/((?:Test|Fuzz)[A-Za-z0-9]+)`")
	seen, bare := 0, 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) < 2 || strings.Contains(line, "---") || strings.Contains(line, "held by") {
			continue
		}
		claim, tests := strings.TrimSpace(cells[len(cells)-2]), named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if claim != "" && len(tests) == 0 {
			bare++
			t.Logf("no test: %s", claim)
		}
		for _, test := range tests {
			seen++
			if !declares(t, test[1], test[2]) {
				t.Errorf("there is no %s", path.Join(test[1], test[2]))
			}
		}
	}
	if seen < least || bare != 0 {
		t.Errorf("%d tests are named, and %d lines have none", seen, bare)
	}
}

// declares reports whether a folder's tests have a function.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
