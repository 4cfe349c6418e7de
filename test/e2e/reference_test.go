package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// family is a metric as the reference and a process describe it.
type family struct{ kind, labels string }

// metricsAreThoseOfTheReference compares what the gateway and a function show with
// docs/reference/metrics.md, which is made from the source alone.
func metricsAreThoseOfTheReference(t *testing.T, p *platform) {
	written := map[string]family{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(modelserve_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(testdata(t, "docs/reference/metrics.md")), -1) {
		labels := regexp.MustCompile("[a-z_]+").FindAllString(row[3], -1)
		slices.Sort(labels)
		written[row[1]] = family{row[2], strings.Join(labels, " ")}
	}
	if len(written) < 20 {
		t.Fatalf("only %d metrics in the reference", len(written))
	}
	res := p.must(t, request{host: p.Host("content-detect"), path: "/", body: []byte("#!/bin/sh\n"), header: map[string]string{"Content-Type": "application/octet-stream"}})
	if res.status != http.StatusOK {
		t.Fatalf("%d %s", res.status, res.body)
	}
	output := p.Output.String()
	for process, find := range map[string]string{
		"gateway":        `Metrics are at http://(\S+)/metrics`,
		"content-detect": `content-detect +│ listening .*metrics=(\S+)`,
	} {
		t.Run(process, func(t *testing.T) {
			at := regexp.MustCompile(find).FindAllStringSubmatch(output, -1)
			if len(at) == 0 {
				t.Fatalf("it does not print where its metrics are:\n%s", output)
			}
			shown := scrape(t, "http://"+at[len(at)-1][1]+"/metrics")
			if len(shown) < 4 {
				t.Errorf("only %v", slices.Sorted(maps.Keys(shown)))
			}
			for name, got := range shown {
				if diff := cmp.Diff(written[name], got, cmp.AllowUnexported(family{})); diff != "" {
					t.Errorf("%s: -reference +process:\n%s", name, diff)
				}
			}
		})
	}
}

// linesAreThoseOfThePage compares what the gateway's access log and Server-Timing
// hold with the tables of docs/operate.md.
func linesAreThoseOfThePage(t *testing.T, p *platform) {
	for _, r := range []request{
		{host: p.Host("content-detect"), path: "/", body: []byte("#!/bin/sh\n"), header: map[string]string{"Content-Type": "application/octet-stream"}},
		{path: "/v2/models/never-heard-of"},
	} {
		p.must(t, r)
	}
	page := string(testdata(t, "docs/operate.md"))
	section := func(title string) string {
		_, text, _ := strings.Cut(page, "\n## "+title+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	var lines [][]string
	p.eventually(t, "the two calls are in the log", func() error {
		lines = regexp.MustCompile(`(?m)^gateway +│ (?:warning: |error: )?request (.*)$`).FindAllStringSubmatch(p.Output.String(), -1)
		if !slices.ContainsFunc(lines, func(l []string) bool { return strings.Contains(l[1], "timing=") }) ||
			!slices.ContainsFunc(lines, func(l []string) bool { return strings.Contains(l[1], "code=") }) {
			return fmt.Errorf("%d lines", len(lines))
		}
		return nil
	})
	fields, parts := map[string]bool{}, map[string]bool{}
	for _, line := range lines {
		for _, part := range regexp.MustCompile(`(\w+);dur=`).FindAllStringSubmatch(line[1], -1) {
			parts[part[1]] = true
		}
		for _, field := range regexp.MustCompile(`(\w+)=`).FindAllStringSubmatch(regexp.MustCompile(`"(\\.|[^"])*"`).ReplaceAllString(line[1], ""), -1) {
			fields[field[1]] = true
		}
	}
	for title, names := range map[string]map[string]bool{"The access log": fields, "Server-Timing": parts} {
		if len(names) < 3 {
			t.Errorf("%s: only %v were seen", title, names)
		}
		for name := range names {
			if !strings.Contains(section(title), "`"+name+"`") {
				t.Errorf("%s: operate.md does not name %s", title, name)
			}
		}
	}
}

// scrape is the platform's own metrics of a process, in Prometheus' text format.
func scrape(t *testing.T, url string) map[string]family {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]family{}
	for _, typed := range regexp.MustCompile(`(?m)^# TYPE (modelserve_\w+) (\w+)$`).FindAllStringSubmatch(string(body), -1) {
		labels := map[string]bool{}
		for _, sample := range regexp.MustCompile(`(?m)^`+typed[1]+`(?:_bucket|_sum|_count)?\{(.*)\} `).FindAllStringSubmatch(string(body), -1) {
			for _, label := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
				labels[label[1]] = true
			}
		}
		delete(labels, "le") // of a histogram's buckets
		shown[typed[1]] = family{typed[2], strings.Join(slices.Sorted(maps.Keys(labels)), " ")}
	}
	return shown
}
