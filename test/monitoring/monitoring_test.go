package monitoring_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// promtool is Prometheus' own checker of rules, which test/setup.sh brings.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	path, err := filepath.Abs(filepath.Join(root, ".deps", "promtool"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no promtool is here: run test/setup.sh (%v)", err)
	}
	return path
}

// files are those of config/monitoring with an ending.
func files(t *testing.T, ending string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "config", "monitoring", "*"+ending))
	if err != nil || len(all) == 0 {
		t.Fatalf("there are no *%s: %v", ending, err)
	}
	return all
}

// TestAlertsFire holds that the rules are ones, and when each alert fires.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	for command, ending := range map[string]string{"check": ".rules.yml", "test": ".test.yml"} {
		out, err := exec.CommandContext(t.Context(), promtool(t), append([]string{command, "rules"}, files(t, ending)...)...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s rules: %v\n%s", command, err, out)
		}
	}
}

// TestAlertsAreOfMetricsThatThereAre holds that rules name what processes show, that each
// alert is tested, and that docs/operate.md has a section of what to do for it.
func TestAlertsAreOfMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	metrics, operate := read(filepath.Join(root, "docs", "reference", "metrics.md")), read(filepath.Join(root, "docs", "operate.md"))
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(operate, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	for _, path := range files(t, ".rules.yml") {
		rules, tests := read(path), read(strings.Replace(path, ".rules.yml", ".test.yml", 1))
		for _, name := range regexp.MustCompile(`\bmodelserve_[a-z_]+`).FindAllString(rules, -1) {
			if !strings.Contains(metrics, "`"+name+"`") {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
		for _, alert := range regexp.MustCompile(`(?m)- alert: (\S+)`).FindAllStringSubmatch(rules, -1) {
			if !regexp.MustCompile(`(?s)alertname: ` + alert[1] + `\n +exp_alerts`).MatchString(tests) {
				t.Errorf("%s: nothing holds when %s fires", path, alert[1])
			}
		}
		for _, section := range regexp.MustCompile(`runbook: docs/operate.md#(\S+)`).FindAllStringSubmatch(rules, -1) {
			if !anchors[section[1]] {
				t.Errorf("%s: docs/operate.md has no section %s", path, section[1])
			}
		}
	}
}
