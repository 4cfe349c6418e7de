package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// decoded is a V2 request in JSON.
type decoded struct {
	ID     string `json:"id"`
	Inputs []struct {
		Name     string    `json:"name"`
		Datatype string    `json:"datatype"`
		Shape    []int64   `json:"shape"`
		Data     []float32 `json:"data"`
	} `json:"inputs"`
}

// serveDecoder is what a Go handler costs that only decodes a V2 request: the
// standard library's server, and the same JSON library as ours, which decodes
// into a struct. It answers nothing but {}.
func serveDecoder(ctx context.Context, address string) error {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body decoded
		if err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, 1<<20), &body); err != nil || len(body.Inputs) == 0 {
			http.Error(w, "expected a V2 request", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, "{}")
	})
	return serveHandler(ctx, address, handler)
}

// serveHandler serves by the standard library's server until ctx ends.
func serveHandler(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
