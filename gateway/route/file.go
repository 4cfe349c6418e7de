package route

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/runtime/model"
)

// maxFile bounds a routes file: a ConfigMap has no more.
const maxFile = 1 << 20

// file is the form of a routes file.
type file struct {
	Functions []fileFunction `json:"functions"`
}

type fileFunction struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"` // "default" when left out
	URL       string   `json:"url"`       // http://{name}.{namespace}.svc.cluster.local when left out
	Models    []string `json:"models"`    // name@version
	Tags      []string `json:"tags"`
	Pool      bool     `json:"pool"`
}

// Parse reads a routes file (YAML or JSON):
//
//	functions:
//	  - name: text-detect
//	    models: [text-detect@1]
//	  - {name: pool, pool: true}
//
// Unknown and duplicate fields are errors. Somebody wrote the file as a whole,
// and it is followed as a whole or not at all.
func Parse(data []byte) ([]Function, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("routes: expected at most %d bytes", maxFile)
	}
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	var faults []error
	functions := make([]Function, 0, len(f.Functions))
	for i, ff := range f.Functions {
		fn, err := ff.function()
		if err != nil {
			faults = append(faults, fmt.Errorf("functions[%d]: %w", i, err))
		}
		functions = append(functions, fn)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return functions, nil
}

func (ff *fileFunction) function() (Function, error) {
	fn := Function{Name: ff.Name, Namespace: ff.Namespace, URL: ff.URL, Tags: ff.Tags, Pool: ff.Pool}
	if fn.Namespace == "" {
		fn.Namespace = "default"
	}
	if fn.URL == "" {
		fn.URL = "http://" + fn.Name + "." + fn.Namespace + ".svc.cluster.local"
	}
	for i, text := range ff.Models {
		ref, err := model.ParsePinned(text)
		if err != nil {
			return fn, fmt.Errorf("models[%d]: %w", i, err)
		}
		fn.Models = append(fn.Models, ref)
	}
	return fn, nil
}

// Load puts the functions of a file in force.
func (r *Routes) Load(path string) error {
	_, err := r.load(path, [sha256.Size]byte{})
	return err
}

func (r *Routes) load(path string, known [sha256.Size]byte) ([sha256.Size]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return known, fmt.Errorf("read routes: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err = errors.Join(err, in.Close()); err != nil {
		return known, fmt.Errorf("read routes: %w", err)
	}
	sum := sha256.Sum256(data)
	if sum == known {
		return sum, nil
	}
	functions, err := Parse(data)
	if err == nil {
		err = r.replaceAll(functions)
	}
	if err != nil {
		return sum, fmt.Errorf("%s: %w", path, err)
	}
	return sum, nil
}

// Watch loads the file whenever its content changes, looking every interval,
// until ctx ends. It looks at content, not at events or times: a ConfigMap's
// file is a link that changes under its name. A bad file is logged once and
// changes nothing.
func (r *Routes) Watch(ctx context.Context, path string, interval time.Duration, logger *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var known [sha256.Size]byte
	var last string
	for {
		sum, err := r.load(path, known)
		if err != nil && err.Error() != last {
			logger.ErrorContext(ctx, "cannot load the routes; the previous ones stay in force", "error", err)
		}
		last = ""
		if err != nil {
			last = err.Error()
		} else if sum != known {
			logger.InfoContext(ctx, "routes are in force", "functions", len(r.Functions()))
		}
		if err == nil {
			known = sum
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
