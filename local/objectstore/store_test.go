package objectstore_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/local/objectstore"
)

// TestMain is also the process that TestKilledDuringPut kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OBJECTSTORE_TEST_VICTIM"); dir != "" {
		s, err := objectstore.Open(context.Background(), dir)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.Endpoint, s.AccessKeyID, s.SecretAccessKey)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) (*objectstore.Store, *s3.Client) {
	t.Helper()
	s, err := objectstore.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, client(s.Endpoint, s.AccessKeyID, s.SecretAccessKey)
}

func client(endpoint, id, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(endpoint), Region: objectstore.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
		Retryer:     aws.NopRetryer{},
	})
}

func put(t *testing.T, c *s3.Client, key, body string) {
	t.Helper()
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(objectstore.Bucket), Key: &key, Body: strings.NewReader(body), ContentType: aws.String("text/x-test"),
	})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, c *s3.Client, key, rnge string) (string, error) {
	t.Helper()
	in := &s3.GetObjectInput{Bucket: aws.String(objectstore.Bucket), Key: &key}
	if rnge != "" {
		in.Range = &rnge
	}
	out, err := c.GetObject(t.Context(), in)
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	text, err := io.ReadAll(out.Body)
	return string(text), err
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, c := open(t, dir)
	keys := []string{"a", "a/b", "a/b/c", "models/iris/1/model.json", "odd/../key", "odd/./x", "odd//y", "UPPER ünïcode/~tilde", strings.Repeat("n", 200) + "/z"}
	for _, k := range keys {
		put(t, c, k, "body of "+k)
	}
	for _, k := range keys {
		if got, err := get(t, c, k, ""); err != nil || got != "body of "+k {
			t.Errorf("get %q: %q, %v", k, got, err)
		}
	}
	if got, err := get(t, c, "a", "bytes=5-6"); err != nil || got != "of" {
		t.Errorf("range: %q, %v", got, err)
	}
	put(t, c, "a", "new")
	if got, _ := get(t, c, "a", ""); got != "new" {
		t.Errorf("overwritten: %q", got)
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(objectstore.Bucket), Key: aws.String("a")})
	if err != nil || aws.ToInt64(head.ContentLength) != 3 || aws.ToString(head.ContentType) != "text/x-test" {
		t.Errorf("head: %+v, %v", head, err)
	}
	for name, want := range map[string]string{
		"none": "NoSuchKey", strings.Repeat("n", 300): "NoSuchKey", "a/" + strings.Repeat("é", 200): "NoSuchKey", strings.Repeat("n", 1025): "KeyTooLongError",
	} {
		if _, err := get(t, c, name, ""); code(err) != want {
			t.Errorf("get of %.20q: %v", name, err)
		}
	}
	// What was written outlives the process.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, c = open(t, dir)
	if got, err := get(t, c, "a/b", ""); err != nil || got != "body of a/b" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	for _, k := range keys {
		if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(objectstore.Bucket), Key: aws.String(k)}); err != nil {
			t.Errorf("delete %q: %v", k, err)
		}
	}
	if left := list(t, c, "", "", 0); len(left) != 0 {
		t.Errorf("left after deleting all: %q", left)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "buckets", objectstore.Bucket)); len(entries) != 0 {
		t.Errorf("folders left: %v", entries)
	}
}

func list(t *testing.T, c *s3.Client, prefix, delimiter string, page int32) []string {
	t.Helper()
	in := &s3.ListObjectsV2Input{Bucket: aws.String(objectstore.Bucket), Prefix: &prefix}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	if page > 0 {
		in.MaxKeys = &page
	}
	var found []string
	for p := s3.NewListObjectsV2Paginator(c, in); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		for _, o := range out.Contents {
			found = append(found, *o.Key)
		}
		for _, o := range out.CommonPrefixes {
			found = append(found, *o.Prefix)
		}
	}
	slices.Sort(found)
	return found
}

func TestList(t *testing.T) {
	t.Parallel()
	_, c := open(t, t.TempDir())
	if got := list(t, c, "models/", "/", 0); len(got) != 0 {
		t.Errorf("empty bucket: %q", got)
	}
	for _, k := range []string{"models/a/1/model.json", "models/a/1/x", "models/a/2/model.json", "models/ab/1/model.json", "models/b/10/model.json", "top"} {
		put(t, c, k, k)
	}
	for _, tc := range []struct {
		name, prefix, delimiter string
		want                    []string
	}{
		{"names", "models/", "/", []string{"models/a/", "models/ab/", "models/b/"}},
		{"versions", "models/a/", "/", []string{"models/a/1/", "models/a/2/"}},
		{"files", "models/a/1/", "", []string{"models/a/1/model.json", "models/a/1/x"}},
		{"part of a name", "models/a", "", []string{"models/a/1/model.json", "models/a/1/x", "models/a/2/model.json", "models/ab/1/model.json"}},
		{"none", "models/zzz/", "/", nil},
		{"top", "", "/", []string{"models/", "top"}},
	} {
		for _, page := range []int32{0, 1, 2} {
			if diff := cmp.Diff(tc.want, list(t, c, tc.prefix, tc.delimiter, page)); diff != "" {
				t.Errorf("%s, %d a page (-want +got):\n%s", tc.name, page, diff)
			}
		}
	}
}

// Of many who create an object only if it is not there, one does.
func TestOnlyOneCreates(t *testing.T) {
	t.Parallel()
	_, c := open(t, t.TempDir())
	var wg sync.WaitGroup
	results := make(chan error, 16)
	for n := range 16 {
		wg.Go(func() {
			_, err := c.PutObject(context.Background(), &s3.PutObjectInput{
				Bucket: aws.String(objectstore.Bucket), Key: aws.String("models/x/1/model.json"),
				Body: strings.NewReader(strings.Repeat(fmt.Sprint(n%10), 1<<16)), IfNoneMatch: aws.String("*"),
			})
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case code(err) != "PreconditionFailed":
			t.Errorf("lost with %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d created it", won)
	}
	if text, _ := get(t, c, "models/x/1/model.json", ""); strings.Trim(text, text[:1]) != "" {
		t.Error("two bodies are mixed")
	}
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, c := open(t, dir)
	bucket, key := aws.String(objectstore.Bucket), aws.String("big/file")
	begun, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var whole []byte
	var parts []types.CompletedPart
	for n := int32(1); n <= 3; n++ {
		body := make([]byte, 5<<20)
		for i := range body {
			body[i] = byte(rand.IntN(256))
		}
		whole = append(whole, body...)
		out, err := c.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: begun.UploadId, PartNumber: &n, Body: bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(n), ETag: out.ETag})
	}
	if _, err := get(t, c, *key, ""); code(err) != "NoSuchKey" {
		t.Errorf("before it is complete: %v", err)
	}
	complete := func(parts []types.CompletedPart) error {
		_, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: key, UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}
	wrong := slices.Clone(parts)
	wrong[1].ETag = aws.String(`"00000000000000000000000000000000"`)
	if err := complete(wrong); code(err) != "InvalidPart" {
		t.Errorf("with a wrong ETag: %v", err)
	}
	if err := complete(parts); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, c, *key, ""); err != nil || got != string(whole) {
		t.Errorf("got %d bytes of %d, %v", len(got), len(whole), err)
	}
	if got, err := get(t, c, *key, "bytes=5242870-5242889"); err != nil || got != string(whole[5242870:5242890]) {
		t.Errorf("range over parts: %d bytes, %v", len(got), err)
	}
	if err := complete(parts); code(err) != "NoSuchUpload" {
		t.Errorf("completed twice: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "staging")); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

func TestOnlyItsOwnKeyOnLoopback(t *testing.T) {
	t.Parallel()
	s, c := open(t, t.TempDir())
	put(t, c, "x", "y")
	if _, err := get(t, client(s.Endpoint, "other", s.SecretAccessKey), "x", ""); code(err) != "InvalidAccessKeyId" {
		t.Errorf("another key: %v", err)
	}
	for name, change := range map[string]func(*http.Request){
		"no credentials": func(*http.Request) {},
		"key elsewhere":  func(r *http.Request) { r.Header.Set("Authorization", s.AccessKeyID) },
		"another host": func(r *http.Request) {
			r.Host = "evil.example"
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.AccessKeyID+"/d/r/s3/aws4_request")
		},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Endpoint+"/"+objectstore.Bucket+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := open(t, dir)
	if _, err := objectstore.Open(t.Context(), dir); !errors.Is(err, objectstore.ErrInUse) {
		t.Fatalf("second: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, _ := open(t, dir)
	if second.Credentials != first.Credentials {
		t.Error("the credentials changed")
	}
}

// A child that is being forked holds the lock's file for a moment.
func TestClosedWhileAChildIsForked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := open(t, dir)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	lock := -1
	for _, f := range files {
		if target, _ := os.Readlink("/proc/self/fd/" + f.Name()); target == filepath.Join(dir, "lock") {
			if lock, err = strconv.Atoi(f.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
	child, err := syscall.Dup(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// A process that is killed in the middle of a PUT leaves the object as it was
// and nothing else.
func TestKilledDuringPut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim := exec.CommandContext(t.Context(), os.Args[0])
	victim.Env = append(os.Environ(), "OBJECTSTORE_TEST_VICTIM="+dir)
	stdin, err := victim.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	var endpoint, id, secret string
	if _, err := fmt.Fscan(stdout, &endpoint, &id, &secret); err != nil {
		t.Fatal(err)
	}
	c := client(endpoint, id, secret)
	put(t, c, "old", "whole")

	for _, key := range []string{"old", "new"} {
		body := &stalling{first: []byte("half"), stalled: make(chan struct{})}
		failed := make(chan error, 1)
		go func() {
			req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, endpoint+"/"+objectstore.Bucket+"/"+key, body)
			if err != nil {
				failed <- err
				return
			}
			req.ContentLength = 1 << 20
			req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+id+"/d/r/s3/aws4_request")
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				err = fmt.Errorf("answered %s", resp.Status)
				_ = resp.Body.Close()
			}
			failed <- err
		}()
		<-body.stalled
		waitFor(t, func() bool { // the first bytes are on disk
			staged, _ := filepath.Glob(filepath.Join(dir, "staging", "put-*"))
			return len(staged) >= 1
		})
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed

	_, c = open(t, dir)
	if got, err := get(t, c, "old", ""); err != nil || got != "whole" {
		t.Errorf("old: %q, %v", got, err)
	}
	if diff := cmp.Diff([]string{"old"}, list(t, c, "", "", 0)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "staging")); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// TestDamagedObjectsKeepTheirName: what has an object's name and is not what was
// written is never read, is listed, and is not free to who writes only what is
// not there. None of it holds anybody up.
func TestDamagedObjectsKeepTheirName(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"cut short":                 func(path string) error { return os.Truncate(path, 5) },
		"empty":                     func(path string) error { return os.Truncate(path, 0) },
		"overwritten":               func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 500), 0o600) },
		"a FIFO":                    func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
		"a folder":                  func(path string) error { return errors.Join(os.Remove(path), os.MkdirAll(path+"/in~", 0o700)) },
		"a link that leads nowhere": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("nowhere", path)) },
		"a link to itself":          func(path string) error { return errors.Join(os.Remove(path), os.Symlink(filepath.Base(path), path)) },
		"a device":                  func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, c := open(t, dir)
			put(t, c, "m/2/model.json", "some bytes")
			put(t, c, "m/1/model.json", "others")
			if err := damage(filepath.Join(dir, "buckets", objectstore.Bucket, "m", "2", "model.json~")); err != nil {
				t.Fatal(err)
			}
			if _, err := get(t, c, "m/2/model.json", ""); code(err) != "ObjectDamaged" {
				t.Errorf("get: %v", err)
			}
			if diff := cmp.Diff([]string{"m/1/model.json", "m/2/model.json"}, list(t, c, "m/", "", 0)); diff != "" {
				t.Errorf("listed (-want +got):\n%s", diff)
			}
			for what, in := range map[string]*s3.PutObjectInput{
				"where there is none":     {IfNoneMatch: aws.String("*")},
				"in place of what it was": {IfMatch: aws.String(`"` + fmt.Sprintf("%x", md5.Sum([]byte("some bytes"))) + `"`)},
			} {
				in.Bucket, in.Key, in.Body = aws.String(objectstore.Bucket), aws.String("m/2/model.json"), strings.NewReader("new")
				if _, err := c.PutObject(t.Context(), in); code(err) != "PreconditionFailed" {
					t.Errorf("put %s: %v", what, err)
				}
			}
		})
	}
}

// TestDamagedObjectsAreReplaced by who says no condition.
func TestDamagedObjectsAreReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, c := open(t, dir)
	put(t, c, "x", "some bytes")
	if err := os.Truncate(filepath.Join(dir, "buckets", objectstore.Bucket, "x~"), 5); err != nil {
		t.Fatal(err)
	}
	put(t, c, "x", "new")
	if got, err := get(t, c, "x", ""); err != nil || got != "new" {
		t.Errorf("written anew: %q, %v", got, err)
	}
}

type stalling struct {
	first   []byte
	stalled chan struct{}
}

func (s *stalling) Read(p []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	close(s.stalled)
	select {} // the rest never comes; the connection ends with the victim
}

// waitFor polls a condition of another process.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		if t.Context().Err() != nil {
			t.Fatal("the test ended first")
		}
	}
}
