// Echo is a function for tests: it tells its revision, and fails, dawdles or
// dies as it is told.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

func main() {
	if reason := os.Getenv("ECHO_FAIL"); reason != "" {
		fmt.Fprintln(os.Stderr, reason)
		os.Exit(3)
	}
	delay, _ := time.ParseDuration(os.Getenv("ECHO_DELAY")) // unset is none
	time.Sleep(delay)
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "told to die")
		os.Exit(4)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)                         // else the answer's end comes apart from it, when the body was read
		pause, _ := time.ParseDuration(r.URL.Query().Get("pause")) // absent is none
		time.Sleep(pause)
		w.Header().Set("Server-Timing", "infer;dur=1.5")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"revision": os.Getenv("K_REVISION"), "service": os.Getenv("K_SERVICE"), "said": os.Getenv("ECHO_SAY"),
			"pid": os.Getpid(), "proto": r.Proto, "host": r.Host,
		})
	})
	ctx, stop := lifecycle.Context(context.Background())
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err == nil {
		err = lifecycle.Serve(ctx, lifecycle.NewServer(mux, lifecycle.DefaultLimits()), listener, 5*time.Second, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
