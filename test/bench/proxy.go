package main

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// serveProxy is what a proxy costs that only hands requests on: the standard library's
// server, proxy and transport, which keeps as many connections as there are clients. At
// /healthz it answers by itself.
func serveProxy(ctx context.Context, address, function string) error {
	transport := &http.Transport{MaxIdleConnsPerHost: gatewayClients}
	defer transport.CloseIdleConnections()
	to := &url.URL{Scheme: "http", Host: function}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	return serveHandler(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
}
