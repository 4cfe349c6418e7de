package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// allocations reads how many objects a process has ever allocated.
func allocations(ctx context.Context, metrics string) (float64, error) {
	return gauge(ctx, metrics, "go_memstats_mallocs_total")
}

// collections reads how often a process has collected its garbage.
func collections(ctx context.Context, metrics string) (float64, error) {
	return gauge(ctx, metrics, "go_gc_duration_seconds_count")
}

// gauge reads a metric without labels.
func gauge(ctx context.Context, metrics, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no %s in the metrics", name)
}
