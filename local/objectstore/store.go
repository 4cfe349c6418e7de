// Package objectstore is the local platform's S3: gofakes3's server on
// loopback over a folder of this package's own, in which an object is there
// whole or not at all, whatever kills the process.
//
// It is not for anything but one machine: the access key is compared, the
// signature is not computed.
package objectstore

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/modelserveai/modelserve/internal/regular"
)

// Bucket is the platform's bucket and Region the region it claims.
const (
	Bucket = "modelserve"
	Region = "us-east-1"
)

// ErrInUse is returned by Open when another process has the folder open.
var ErrInUse = errors.New("another process has it open")

// Credentials of a store, made at its first opening and kept beside it.
type Credentials struct {
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

// Store is an open folder served as S3 on loopback.
type Store struct {
	Credentials
	Endpoint string // http://127.0.0.1:PORT

	lock   *os.File
	server *http.Server
	done   chan error
}

// Open opens dir, creating it if it is not there, and serves it on a free port
// of 127.0.0.1 until Close. One process at a time may have it open: another
// gets ErrInUse.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open object store %s: %w", dir, err)
	}
	s, err := serve(ctx, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open object store %s: %w", dir, err), unlockDir(lock))
	}
	s.lock = lock
	return s, nil
}

func serve(ctx context.Context, dir string) (*Store, error) {
	credentials, err := loadCredentials(filepath.Join(dir, "credentials.json"))
	if err != nil {
		return nil, err
	}
	b, err := openBackend(dir)
	if err != nil {
		return nil, err
	}
	if err := b.CreateBucket(Bucket); err != nil && !gofakes3.HasErrorCode(err, gofakes3.ErrBucketAlreadyExists) {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Store{
		Credentials: credentials,
		Endpoint:    "http://" + listener.Addr().String(),
		server: &http.Server{
			Handler:           guard(credentials, gofakes3.New(b, gofakes3.WithoutVersioning()).Server()),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    64 << 10,
		},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Close stops serving, cutting off what is unfinished, and lets the folder go.
func (s *Store) Close() error {
	err := s.server.Close()
	if serveErr := <-s.done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	s.done <- http.ErrServerClosed // so that a second Close ends too
	if closeErr := unlockDir(s.lock); closeErr != nil && !errors.Is(closeErr, fs.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}

// guard lets only requests through that carry the store's access key id, and
// only those sent to loopback by name: a web page that made its own name
// resolve to 127.0.0.1 sends that name.
func guard(c Credentials, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			deny(w, "InvalidRequest", "this store answers on loopback only")
			return
		}
		if !signedBy(r, c.AccessKeyID) {
			deny(w, "InvalidAccessKeyId", "the access key id is not this store's")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func deny(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusForbidden)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>\n", code, message)
}

// signedBy reads the key id of Signature Version 4's header
// ("AWS4-HMAC-SHA256 Credential=ID/date/region/s3/aws4_request, …") or of its
// query form (presigned URLs).
func signedBy(r *http.Request, id string) bool {
	credential := r.URL.Query().Get("X-Amz-Credential")
	if header, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "); ok {
		for field := range strings.SplitSeq(header, ",") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(field), "Credential="); ok {
				credential = v
			}
		}
	}
	got, _, _ := strings.Cut(credential, "/")
	return subtle.ConstantTimeCompare([]byte(got), []byte(id)) == 1
}

func loadCredentials(path string) (Credentials, error) {
	var c Credentials
	text, err := regular.Read(path, 1<<20)
	if err == nil {
		if err := json.Unmarshal(text, &c); err == nil && c.AccessKeyID != "" && c.SecretAccessKey != "" {
			return c, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read credentials: %w", err)
	}
	c = Credentials{AccessKeyID: "MS" + rand.Text(), SecretAccessKey: rand.Text() + rand.Text()}
	if text, err = json.Marshal(c); err != nil {
		return c, fmt.Errorf("encode credentials: %w", err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return c, fmt.Errorf("write credentials: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return c, fmt.Errorf("write credentials: %w", err)
	}
	return c, nil
}

// lockDir takes the folder for this process; the kernel lets it go with the
// process, however that ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unlockDir lets the folder go at once: a child that is being forked holds what
// this process has open until it executes its program, and closing alone would
// leave the folder locked until then.
func unlockDir(lock *os.File) error {
	_ = syscall.Flock(int(lock.Fd()), syscall.LOCK_UN) // fails where it is closed, which Close says
	return lock.Close()                                //nolint:wrapcheck // it names the file
}
