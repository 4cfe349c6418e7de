package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/objectstore"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// store is the published models, and the keys that go with them.
type store struct {
	*artifact.Store

	signingKey, publicKey string // files; "" when there is none

	of *platform // the running one whose store it is; nil is none
}

// answers reports whether anything listens at an endpoint.
func answers(ctx context.Context, endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was only to see
	return true
}

// explain adds to the error of a store that no longer answers whose it was.
func (s *store) explain(err error) error {
	if s.of == nil || !errors.Is(err, model.ErrUnreachable) || answers(context.Background(), s.of.S3.Endpoint) {
		return err
	}
	return fmt.Errorf("the platform at %s (process %d) has ended meanwhile: start it again with `make run` or `modelserve dev`, and repeat this", s.of.Server, s.of.PID)
}

// openStore finds the published models: in the store that MODELSERVE_S3_* name, else in the
// local platform's store, which is opened here when no platform runs. The
// function it returns closes what was opened.
func (a *app) openStore(ctx context.Context) (*store, func() error, error) {
	nothing := func() error { return nil }
	p, err := a.findPlatform()
	if err != nil {
		return nil, nothing, err
	}
	s := &store{
		signingKey: firstOf(a.vars.SigningKey, p.existing(p.SigningKey, "signing.key")),
		publicKey:  firstOf(a.vars.PublicKey, p.existing(p.PublicKey, "signing.pub")),
	}
	cfg, given, err := a.storeVariables()
	if err != nil {
		return nil, nothing, err
	}
	if !given && !a.isLocal(p) {
		return nil, nothing, fmt.Errorf("the models of %s are in its S3: set MODELSERVE_S3_BUCKET and the other MODELSERVE_S3_*",
			firstOf(a.server, a.vars.Server))
	}
	closeStore := nothing
	switch {
	case given:
	case p.S3.Endpoint != "" && p.running() && answers(ctx, p.S3.Endpoint): // one that was killed may have left its file and its number
		s.of = p
		cfg = artifact.Config{
			Bucket: p.S3.Bucket, Endpoint: p.S3.Endpoint, Region: firstOf(p.S3.Region, objectstore.Region), PathStyle: true,
			AccessKey: p.S3.AccessKeyID, SecretKey: p.S3.SecretAccessKey,
		}
	default:
		if cfg, closeStore, err = a.openLocal(ctx, p); err != nil {
			return nil, nothing, err
		}
	}
	if s.Store, err = artifact.NewStore(ctx, cfg); err != nil {
		return nil, nothing, errors.Join(fmt.Errorf("open the published models: %w", err), closeStore())
	}
	return s, closeStore, nil
}

// isLocal reports whether the platform that is meant is the one here, whose
// store we know: nothing of one platform may go into the store of another.
func (a *app) isLocal(p *platform) bool {
	server := strings.TrimRight(firstOf(a.server, a.vars.Server), "/")
	return server == "" || p.running() && sameServer(server, p.Server)
}

// sameServer reports whether two URLs lead to one port of one host. The names
// of this machine are one host.
func sameServer(a, b string) bool {
	left, errLeft := url.Parse(a)
	right, errRight := url.Parse(b)
	return errLeft == nil && errRight == nil && left.Host != "" &&
		hostOf(left) == hostOf(right) && portOf(left) == portOf(right)
}

func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if host == "127.0.0.1" || host == "::1" || strings.HasSuffix(host, ".localhost") {
		return "localhost"
	}
	return host
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" || u.Scheme != "https" {
		return firstOf(port, "80")
	}
	return "443"
}

// openLocal opens the store of a platform that does not run.
func (a *app) openLocal(ctx context.Context, p *platform) (artifact.Config, func() error, error) {
	dir := p.dir
	if dir == "" || !isDir(filepath.Join(dir, "s3")) {
		return artifact.Config{}, nil, errors.New("there are no published models here: no local platform here or above has run (.modelserve), " +
			"and MODELSERVE_S3_BUCKET is not set; start a platform with `make run` or `modelserve dev`, name its folder with --data, or name another store with MODELSERVE_S3_*")
	}
	opened, err := local.OpenStore(ctx, dir)
	if errors.Is(err, objectstore.ErrInUse) {
		return artifact.Config{}, nil, fmt.Errorf("%s is in use by a platform that is starting or stopping; try again in a moment", dir)
	}
	if err != nil {
		return artifact.Config{}, nil, fmt.Errorf("open the local platform's store: %w", err)
	}
	return artifact.Config{
		Bucket: objectstore.Bucket, Endpoint: opened.Endpoint, Region: objectstore.Region, PathStyle: true,
		AccessKey: opened.AccessKeyID, SecretKey: opened.SecretAccessKey,
	}, opened.Close, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// existing is the platform's file of that name, recorded in platform.json or
// the default; "" where there is none.
func (p *platform) existing(recorded, name string) string {
	if p.dir == "" {
		return ""
	}
	path := filepath.Join(p.dir, name)
	if recorded != "" {
		path = p.path(recorded)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return path
}

// signer reads the key that signs what is pushed; nil when there is none.
func (s *store) signer() (*sign.Signer, error) {
	if s.signingKey == "" {
		return nil, nil //nolint:nilnil // unsigned, which Publisher knows
	}
	return sign.ReadSigner(s.signingKey)
}

// verifier reads the keys that published models must be signed with; nil when
// there is none.
func (s *store) verifier() (*sign.Verifier, error) {
	if s.publicKey == "" {
		return nil, nil //nolint:nilnil // nothing to hold signatures to
	}
	return sign.ReadVerifier(s.publicKey)
}

// parseRef reads NAME or NAME@VERSION; version 0 is none.
func parseRef(text string) (model.Ref, error) {
	ref, err := model.ParseRef(text)
	if err != nil {
		return ref, &usageError{err}
	}
	return ref, nil
}

// resolve reads a ref and takes the newest version where it has none.
func (s *store) resolve(ctx context.Context, text string) (model.Ref, error) {
	ref, err := parseRef(text)
	if err == nil && ref.Version == 0 {
		ref, err = s.Newest(ctx, ref.Name)
	}
	return ref, notPublished(err)
}

// find reads the manifest that a ref names.
func (s *store) find(ctx context.Context, text string) (*model.Manifest, error) {
	ref, err := s.resolve(ctx, text)
	if err != nil {
		return nil, err
	}
	m, _, err := s.Manifest(ctx, ref)
	return m, notPublished(err)
}

// notPublished adds what to do about a model that is not there.
func notPublished(err error) error {
	if err != nil && problem.CodeOf(err) == problem.ModelNotFound {
		return fmt.Errorf("%w; `modelserve models list` shows what is, `modelserve models push` publishes", err)
	}
	return err
}
