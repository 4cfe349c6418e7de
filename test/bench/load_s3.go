package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/cache"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// loadRounds is the least number of rounds of a load: each takes milliseconds.
const loadRounds = 15

// loading holds a load of text-recognize with a cold cache, from its manifest in
// S3 to a session, against the least that it could be: one ranged GET of the
// same bytes, without manifest, signature, hash or file, and a session mapped
// from a file that is there. Both begin without a connection. Library start and
// warm-up are in neither.
func (o *options) loading(ctx context.Context, p *platform, dir string) (rows []row, err error) {
	found, err := ort.FindLibrary()
	if err != nil {
		return nil, err
	}
	library, err := ort.Open(found)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	l := &loader{p: p, dir: dir, library: library, ref: model.Ref{Name: "text-recognize", Version: 1}}
	if err := l.prepare(ctx); err != nil {
		return nil, err
	}
	var ratio, ours, bare []float64
	for i := range max(o.rounds, loadRounds) + 1 {
		get, create, err := l.bare(ctx)
		if err != nil {
			return nil, fmt.Errorf("bare: %w", err)
		}
		timing, session, err := l.ours(ctx)
		if err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
		progress("  bare %v + %v, ours: fetch %v, verify %v, session %v", get.Round(100*time.Microsecond), create.Round(100*time.Microsecond),
			timing.Fetch.Round(100*time.Microsecond), timing.Verify.Round(100*time.Microsecond), session.Round(100*time.Microsecond))
		if i == 0 {
			continue // pages and connections of S3 itself
		}
		b, u := (get + create).Seconds(), (timing.Fetch + timing.Verify + session).Seconds()
		ratio, bare, ours = append(ratio, u/b), append(bare, b), append(ours, u)
	}
	progress("  the fastest rounds: bare %.1f ms, ours %.1f ms", 1000*slices.Min(bare), 1000*slices.Min(ours))
	return []row{{
		fmt.Sprintf("load from S3 to ready, text-recognize, cold cache (%.0f ms)", 1000*median(ours)),
		fmt.Sprintf("one bare ranged GET and the mapped session (%.0f ms)", 1000*median(bare)),
		spread(ratio), "≤ 1.15", median(ratio) <= 1.15,
	}}, nil
}

// loader loads one model in both ways.
type loader struct {
	p       *platform
	dir     string
	library *ort.Library
	ref     model.Ref
	rounds  int

	verifier *sign.Verifier
	target   model.Target
	path     string // the file to load, on disk
	key      string // the same file in S3
	buffer   []byte
}

func (l *loader) store(ctx context.Context) (*artifact.Store, error) {
	style, err := strconv.ParseBool(l.p.s3["MODELSERVE_S3_PATH_STYLE"])
	if err != nil {
		return nil, err
	}
	return artifact.NewStore(ctx, artifact.Config{
		Bucket: l.p.s3["MODELSERVE_S3_BUCKET"], Endpoint: l.p.s3["MODELSERVE_S3_ENDPOINT"], Region: l.p.s3["MODELSERVE_S3_REGION"],
		PathStyle: style, AccessKey: l.p.s3["MODELSERVE_S3_ACCESS_KEY_ID"], SecretKey: l.p.s3["MODELSERVE_S3_SECRET_ACCESS_KEY"],
	})
}

// fetcher is one with an empty cache and no connection.
func (l *loader) fetcher(ctx context.Context) (*cache.Fetcher, *cache.Cache, error) {
	l.rounds++
	store, err := l.store(ctx)
	if err != nil {
		return nil, nil, err
	}
	kept, err := cache.Open(cache.Config{Dir: filepath.Join(l.dir, "load", strconv.Itoa(l.rounds))})
	if err != nil {
		return nil, nil, err
	}
	return cache.NewFetcher(store, kept, l.target, l.verifier, cache.Transfer{}), kept, nil
}

// prepare brings the file that fits this machine onto the disk.
func (l *loader) prepare(ctx context.Context) (err error) {
	l.target = model.Target{ONNXRuntime: l.library.Version(), Arch: runtime.GOARCH, CPU: ort.CPUFeatures()}
	if l.verifier, err = sign.ReadVerifier(l.p.s3["MODELSERVE_PUBLIC_KEY_FILE"]); err != nil {
		return err
	}
	f, kept, err := l.fetcher(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close(ctx)) }()
	local, err := f.Fetch(ctx, l.ref)
	if err != nil {
		return err
	}
	defer local.Release()
	if !local.ORT {
		return errors.New("no .ort file of text-recognize fits this machine")
	}
	for _, file := range local.Manifest.Files {
		if file.Optimized != nil {
			l.key = fmt.Sprintf("models/%s/%d/%s", l.ref.Name, l.ref.Version, file.Object)
		}
	}
	data, err := os.ReadFile(local.Path)
	if err != nil {
		return err
	}
	l.buffer, l.path = data, filepath.Join(l.dir, "load.ort")
	return os.WriteFile(l.path, data, 0o600)
}

// bare reads the file's bytes and makes a session of them as they are on disk.
func (l *loader) bare(ctx context.Context) (get, create time.Duration, err error) {
	presigned, err := s3.NewPresignClient(s3.New(s3.Options{
		BaseEndpoint: aws.String(l.p.s3["MODELSERVE_S3_ENDPOINT"]), Region: l.p.s3["MODELSERVE_S3_REGION"], UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(l.p.s3["MODELSERVE_S3_ACCESS_KEY_ID"], l.p.s3["MODELSERVE_S3_SECRET_ACCESS_KEY"], ""),
	})).PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket: aws.String(l.p.s3["MODELSERVE_S3_BUCKET"]), Key: &l.key, Range: aws.String(fmt.Sprintf("bytes=0-%d", len(l.buffer)-1)),
	})
	if err != nil {
		return 0, 0, err
	}
	req, err := http.NewRequestWithContext(ctx, presigned.Method, presigned.URL, nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header = presigned.SignedHeader
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusPartialContent {
		return 0, 0, fmt.Errorf("status %d", res.StatusCode)
	}
	if _, err := io.ReadFull(res.Body, l.buffer); err != nil {
		return 0, 0, err
	}
	get = time.Since(began)
	create, err = l.session(l.path)
	return get, create, err
}

// ours fetches into an empty cache and makes a session from it. The next round
// waits until the disk has what this one fetched.
func (l *loader) ours(ctx context.Context) (timing cache.Timing, create time.Duration, err error) {
	f, kept, err := l.fetcher(ctx)
	if err != nil {
		return timing, 0, err
	}
	defer func() { err = errors.Join(err, kept.Close(ctx)) }()
	local, err := f.Fetch(ctx, l.ref)
	if err != nil {
		return timing, 0, err
	}
	defer local.Release()
	create, err = l.session(local.Path)
	return local.Timing, create, err
}

func (l *loader) session(path string) (time.Duration, error) {
	began := time.Now()
	session, err := l.library.Open(path, ort.Options{})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, session.Close()
}
