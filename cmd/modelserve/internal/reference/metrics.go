package main

import (
	"errors"
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// metric is a family of metrics as the source makes it.
type metric struct {
	name, kind, help, importPath string
	labels                       []string
}

// metrics are the families that the code makes, by name. They are read from the
// literals, prometheus.CounterOpts{…} and its like, so that none is left out that
// no test happens to make; a name, a help or a label that is no literal is an error.
func (s source) metrics() ([]metric, error) {
	var found []metric
	var faults []error
	labels := map[*ast.CompositeLit][]string{} // of vectors, by their options
	s.each(func(importPath string, n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 2 && strings.HasSuffix(selected(call.Fun), "Vec") {
			if options, ok := call.Args[0].(*ast.CompositeLit); ok {
				all, err := texts(call.Args[1])
				labels[options], faults = all, append(faults, err)
			}
		}
		options, ok := n.(*ast.CompositeLit)
		if !ok || !slices.Contains([]string{"CounterOpts", "GaugeOpts", "HistogramOpts", "SummaryOpts"}, selected(options.Type)) {
			return
		}
		m, err := metricOf(options)
		m.importPath, m.labels = importPath, append(m.labels, labels[options]...)
		found, faults = append(found, m), append(faults, err)
	})
	slices.SortFunc(found, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return found, errors.Join(faults...)
}

// selected is the name in "prometheus.name"; "" of any other expression.
func selected(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if from, ok := s.X.(*ast.Ident); !ok || from.Name != "prometheus" {
		return ""
	}
	return s.Sel.Name
}

// metricOf reads a metric's options, its constant labels included.
func metricOf(options *ast.CompositeLit) (m metric, err error) {
	m.kind = strings.ToLower(strings.TrimSuffix(selected(options.Type), "Opts"))
	for _, e := range options.Elts {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := pair.Key.(*ast.Ident)
		if !ok {
			continue
		}
		switch key.Name {
		case "Name":
			m.name, err = text(pair.Value)
		case "Help":
			m.help, err = text(pair.Value)
		case "ConstLabels":
			m.labels, err = keys(pair.Value)
		}
		if err != nil {
			return m, fmt.Errorf("%s of the metric %s: %w", key.Name, m.name, err)
		}
	}
	if m.name == "" || m.help == "" {
		err = fmt.Errorf("a metric has no name or no help: %q", m.name+m.help)
	}
	return m, err
}

// texts are the elements of a list of texts.
func texts(e ast.Expr) ([]string, error) { return elements(e, func(e ast.Expr) ast.Expr { return e }) }

// keys are those of a map from texts.
func keys(e ast.Expr) ([]string, error) {
	return elements(e, func(e ast.Expr) ast.Expr {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			return pair.Key
		}
		return e
	})
}

func elements(e ast.Expr, of func(ast.Expr) ast.Expr) ([]string, error) {
	list, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil, errors.New("labels are expected to be a literal")
	}
	var all []string
	for _, e := range list.Elts {
		value, err := text(of(e))
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

func metricsPage(s source) ([]byte, error) {
	all, err := s.metrics()
	if err != nil {
		return nil, err
	}
	p := newPage("Metrics", "What each process shows on `/metrics` of its own port (`MODELSERVE_METRICS_ADDRESS`, 9464), in Prometheus' format, and in OpenMetrics with trace ids as exemplars to those who ask for it. Beside these are Go's (`go_*`) and the process's own (`process_*`).")
	for _, part := range []struct{ head, about, below string }{
		{"The gateway", "Labels are endpoints, functions, statuses and tenants: bounded, whatever callers send. The first 100 tenants of keys that call, and the first 100 of tokens, have a value of their own; the rest are `_other`, which is no tenant's name, and who is not known has none.", "gateway"},
		{"Functions", "The label `model` is bounded: what is beyond the first models is `other`.", "runtime"},
		{"Pipelines", "", "pipelines"},
		{"Every process", "", "internal"},
	} {
		p.printf("\n## %s\n", part.head)
		if part.about != "" {
			p.printf("\n%s\n", part.about)
		}
		var rows [][]string
		for _, m := range all {
			if strings.HasPrefix(m.importPath, module+"/"+part.below+"/") || m.importPath == module+"/"+part.below {
				rows = append(rows, []string{code(m.name), m.kind, code(strings.Join(m.labels, "`, `")), m.help})
			}
		}
		p.table([]string{"metric", "type", "labels", "meaning"}, rows)
	}
	return p.bytes(), nil
}
