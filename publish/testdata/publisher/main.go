// Publisher opens a local object store and publishes into it what it is asked
// to, one JSON object a line, for tests that start it: this package's
// importers are the CLI's own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/publish"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// ask is one model to publish.
type ask struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Example string `json:"example"` // a file; "" is none
}

// answer is what became of it.
type answer struct {
	Name  string   `json:"name"`
	Error string   `json:"error"`
	Notes []string `json:"notes"`
}

func main() {
	if err := run(context.Background(), os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run serves a store in dir until in ends. It writes the environment that
// leads to the store first.
func run(ctx context.Context, dir string, in io.Reader, out io.Writer) (err error) {
	opened, err := objectstore.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	cfg := artifact.Config{
		Bucket: objectstore.Bucket, Endpoint: opened.Endpoint, Region: objectstore.Region, PathStyle: true,
		AccessKey: opened.AccessKeyID, SecretKey: opened.SecretAccessKey,
	}
	store, err := artifact.NewStore(ctx, cfg)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(out)
	if err := lines.Encode(map[string]string{
		"MODELSERVE_S3_BUCKET": cfg.Bucket, "MODELSERVE_S3_ENDPOINT": cfg.Endpoint, "MODELSERVE_S3_REGION": cfg.Region,
		"MODELSERVE_S3_PATH_STYLE": "true", "MODELSERVE_S3_ACCESS_KEY_ID": cfg.AccessKey, "MODELSERVE_S3_SECRET_ACCESS_KEY": cfg.SecretKey,
	}); err != nil {
		return err
	}
	var work sync.WaitGroup
	defer work.Wait()
	var mu sync.Mutex
	publisher := &publish.Publisher{Store: store, Library: openLibrary}
	for asked := json.NewDecoder(in); ; {
		var a ask
		if err := asked.Decode(&a); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		work.Go(func() { // as many at once as whoever asks waits for
			done := one(ctx, publisher, a)
			mu.Lock()
			defer mu.Unlock()
			if err := lines.Encode(done); err != nil {
				fmt.Fprintln(os.Stderr, "error:", err)
			}
		})
	}
}

func openLibrary() (*ort.Library, error) {
	path, err := ort.FindLibrary()
	if err != nil {
		return nil, err
	}
	return ort.Open(path)
}

func one(ctx context.Context, publisher *publish.Publisher, a ask) answer {
	req := publish.Request{Name: a.Name, File: a.File}
	if a.Example != "" {
		var err error
		if req.Example, err = publish.ReadExample(a.Example); err != nil {
			return answer{Name: a.Name, Error: err.Error()}
		}
	}
	done, err := publisher.Publish(ctx, req)
	if err != nil {
		return answer{Name: a.Name, Error: err.Error()}
	}
	return answer{Name: a.Name, Notes: done.Notes}
}
