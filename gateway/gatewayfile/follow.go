package gatewayfile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/internal/regular"
)

// When the file is looked at. Its content is, not events or times: a ConfigMap's file
// is a link that changes under its name.
const (
	lookEvery = time.Second
	settle    = 100 * time.Millisecond // between looks at the start
	changing  = 10                     // looks in a row that each read something else are reported
)

// InForce is what a Follower has put in force.
type InForce struct {
	File       *File
	Generation int64     // 1, 2, … with each content that was put in force
	Digest     string    // SHA-256 of the content in hexadecimal; "" where there is no file
	Since      time.Time // when it was put in force
	Bad        string    // what is wrong with the file as it is now; "" is nothing
}

// Follower keeps in force what a file says.
type Follower struct {
	path   string
	apply  func(*File) error
	logger *slog.Logger

	last    [sha256.Size]byte // what the last look read; zero is no file, or no look yet
	changed int               // looks in a row that read something else than the one before

	mu  sync.Mutex
	is  InForce
	bad [sha256.Size]byte // what was refused last
}

// Follow puts in force what a file says now; without the file, the defaults. apply
// does it, whole or not at all, and its error refuses the content. A bad file is an
// error here: later the last good one stays.
//
// What two looks in a row read alike counts: one that is written in place may be read
// by one of them before all of it is there.
func Follow(ctx context.Context, path string, apply func(*File) error, registry prometheus.Registerer, logger *slog.Logger) (*Follower, error) {
	f := &Follower{path: path, apply: apply, logger: logger}
	for {
		if err := f.look(); err != nil {
			return nil, err
		}
		if f.is.Generation > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settle):
		}
	}
	for _, gauge := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_file_generation", Help: "How many contents of the gateway's file were put in force.",
		}, func() float64 { return float64(f.InForce().Generation) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_file_age_seconds", Help: "How long what is in force of the gateway's file has been so.",
		}, func() float64 { return time.Since(f.InForce().Since).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_gateway_file_bad", Help: "1 while the gateway's file is a bad one, and an earlier one is in force.",
		}, func() float64 {
			if f.InForce().Bad != "" {
				return 1
			}
			return 0
		}),
	} {
		if err := registry.Register(gauge); err != nil {
			return nil, fmt.Errorf("register the metrics of the gateway's file: %w", err)
		}
	}
	return f, nil
}

// InForce is what is in force now.
func (f *Follower) InForce() InForce {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.is
}

// Run follows the file until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := f.look(); err != nil {
			f.logger.Error("the gateway's file is a bad one; what was in force stays", "path", f.path, "error", err)
		}
	}
}

// errChanging is of a content that another follows before it was read twice.
var errChanging = errors.New("the file changes from one look to the next: write another one beside it, and rename that to it")

// look puts a content that is new in force when the look before read the same. What is
// bad is reported once.
func (f *Follower) look() error {
	data, err := regular.Read(f.path, maxFile)
	missing := errors.Is(err, fs.ErrNotExist)
	sum, digest := sha256.Sum256(data), ""
	switch {
	case missing:
		sum = [sha256.Size]byte{}
	case err != nil:
		sum = sha256.Sum256([]byte(err.Error()))
	default:
		digest = hex.EncodeToString(sum[:])
	}
	f.changed++
	if f.last == sum {
		f.changed = 0
	}
	f.last = sum
	is := f.InForce()
	switch {
	case is.Generation > 0 && is.Digest == digest && (err == nil || missing):
		f.changed = 0
		f.mend()
		return nil
	case f.changed >= changing:
		return f.refuse(sha256.Sum256([]byte(errChanging.Error())), errChanging)
	case f.changed > 0:
		return nil
	case err != nil && !missing:
		return f.refuse(sum, err)
	}
	file := Default()
	if !missing {
		if file, err = Parse(data); err != nil {
			return f.refuse(sum, err)
		}
	}
	if err := f.apply(file); err != nil {
		return f.refuse(sum, err)
	}
	f.mu.Lock()
	f.is = InForce{File: file, Generation: f.is.Generation + 1, Digest: digest, Since: time.Now()}
	f.bad = [sha256.Size]byte{}
	f.mu.Unlock()
	f.logger.Info("the gateway's file is in force", "path", f.path, "there", !missing, "generation", is.Generation+1, "issuers", len(file.Issuers))
	return nil
}

// refuse notes a bad content. Its error is for the first time alone.
func (f *Follower) refuse(sum [sha256.Size]byte, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.bad == sum
	f.bad, f.is.Bad = sum, err.Error()
	if known {
		return nil
	}
	return fmt.Errorf("%s: %w", f.path, err)
}

// mend notes that the file is again what is in force.
func (f *Follower) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bad, f.is.Bad = [sha256.Size]byte{}, ""
}
