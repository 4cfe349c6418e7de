// Package valuestest is the objects of package values in memory, for tests.
package valuestest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/pipelines/values"
)

// Objects implements values.Objects.
type Objects struct {
	mu      sync.Mutex
	objects map[string]object
	fault   error
	keep    string
}

type object struct {
	data     []byte
	modified time.Time
}

// New makes Objects.
func New() *Objects { return &Objects{objects: map[string]object{}} }

// Fail has everything answer with an error; nil ends that.
func (o *Objects) Fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = err
}

// Keep has objects whose keys begin with a prefix not deleted, with an error.
func (o *Objects) Keep(prefix string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep = prefix
}

// Keys are the keys of all objects, sorted.
func (o *Objects) Keys() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.objects))
}

// Put implements values.Objects.
func (o *Objects) Put(_ context.Context, key, _ string, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault == nil {
		o.objects[key] = object{bytes.Clone(data), time.Now()}
	}
	return o.fault
}

// Open implements values.Objects.
func (o *Objects) Open(_ context.Context, key string) (io.ReadCloser, int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault != nil {
		return nil, 0, o.fault
	}
	found, ok := o.objects[key]
	if !ok {
		return nil, 0, values.ErrMissing
	}
	return io.NopCloser(bytes.NewReader(found.data)), int64(len(found.data)), nil
}

// Delete implements values.Objects.
func (o *Objects) Delete(_ context.Context, prefix string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keep != "" && strings.HasPrefix(prefix, o.keep) {
		return errors.New("access denied")
	}
	if o.fault == nil {
		maps.DeleteFunc(o.objects, func(key string, _ object) bool { return strings.HasPrefix(key, prefix) })
	}
	return o.fault
}

// Walk implements values.Objects.
func (o *Objects) Walk(_ context.Context, prefix string, visit func(key string, modified time.Time) error) error {
	o.mu.Lock()
	objects, fault := maps.Clone(o.objects), o.fault
	o.mu.Unlock()
	if fault != nil {
		return fault
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if strings.HasPrefix(key, prefix) {
			if err := visit(key, objects[key].modified); err != nil {
				return err
			}
		}
	}
	return nil
}
