package function

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestWaitEndsBeforeTheProgressDeadline holds that a function which waits for what
// does not come ends, with the reason, before Knative gives its revision up: every
// deadline in config/ leaves maxWait, and as long again to start.
func TestWaitEndsBeforeTheProgressDeadline(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "config")
	line := regexp.MustCompile(`(?m)^\s*(?:serving\.knative\.dev/)?progress-deadline: "?([^\s"]+)"?\s*$`)
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range line.FindAllSubmatch(text, -1) {
			name, _ := filepath.Rel(root, path)
			found[filepath.ToSlash(name)] = true
			deadline, err := time.ParseDuration(string(m[1]))
			if err != nil || deadline < 2*maxWait {
				t.Errorf("%s: progress-deadline %s, %v; a function waits for %v", name, m[1], err, maxWait)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"components/knative/deployment.yaml", "base/pool.yaml", "base/text-detect.yaml", "base/text-orient.yaml",
		"base/text-recognize.yaml", "base/speech-detect.yaml", "base/content-detect.yaml",
	} {
		if !found[name] {
			t.Errorf("%s has no progress-deadline", name)
		}
	}
}
