package local

import (
	"context"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelserveai/modelserve/cmd/modelserve/internal/local/activator"
)

// pool says whether the function takes every published model.
func (s FunctionStatus) pool() bool { return s.Models == "*" }

func (f *front) open(context.Context) error {
	f.update = func([]FunctionStatus) error { return nil }
	f.handler = &httputil.ReverseProxy{
		Transport: f.platform.services.table,
		Rewrite: func(r *httputil.ProxyRequest) {
			name, _, _ := strings.Cut(r.In.Host, ".")
			r.Out.URL.Scheme, r.Out.URL.Host = "http", name+activator.Domain
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	return nil
}

// relative is a path as the person at the terminal would write it.
func (p *platform) relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
