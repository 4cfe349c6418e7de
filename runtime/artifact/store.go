// Package artifact keeps published models in S3: immutable versions under a
// prefix, each with its files, its manifest and the manifest's signature; beside
// them a model's policy, the numbers that were deleted, and the notice of a change.
//
// What these documents contain is runtime/model's, and how they are signed
// runtime/sign's. It keeps no file on a node (runtime/cache) and runs no model.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Config is where published models are. Without keys the AWS SDK's own chain
// finds credentials: its variables, shared files, a web identity, the node's.
type Config struct {
	Bucket    string `env:"MODELSERVE_S3_BUCKET"`
	Endpoint  string `env:"MODELSERVE_S3_ENDPOINT"` // "" is AWS itself
	Region    string `env:"MODELSERVE_S3_REGION" envDefault:"us-east-1"`
	PathStyle bool   `env:"MODELSERVE_S3_PATH_STYLE"` // bucket in the path, as most servers but AWS want it
	AccessKey string `env:"MODELSERVE_S3_ACCESS_KEY_ID"`
	SecretKey string `env:"MODELSERVE_S3_SECRET_ACCESS_KEY"`
}

// Check returns a fault per broken rule (internal/env).
func (c *Config) Check() []error {
	var faults []error
	if c.Bucket == "" {
		faults = append(faults, env.Faultf("MODELSERVE_S3_BUCKET", "is required and not set"))
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		faults = append(faults, env.Faultf("MODELSERVE_S3_SECRET_ACCESS_KEY",
			"goes with MODELSERVE_S3_ACCESS_KEY_ID: expected both or neither"))
	}
	return faults
}

// Prefixes of the bucket.
const (
	modelsPrefix   = "models/"
	inputsPrefix   = "inputs/"
	payloadsPrefix = "payloads/"
)

// dialTimeout is how long S3 may take to accept a connection. The client's own 30
// seconds, tried three times, would be a minute and a half without an error.
const dialTimeout = 5 * time.Second

// maxListed bounds the objects that one listing walks.
const maxListed = 1_000_000

// Store is published models in S3. It is safe for concurrent use.
type Store struct {
	client *s3.Client
	bucket string
	where  string // S3 is, for errors
}

// NewStore opens the store that cfg describes; it calls nothing yet but what
// finds credentials.
func NewStore(ctx context.Context, cfg Config) (*Store, error) {
	if err := errors.Join(cfg.Check()...); err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(cfg.Region),
		// Servers that are not AWS know neither trailing checksums nor their
		// algorithms; files carry their own sha256 here.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout })),
	}
	if cfg.AccessKey != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKey, cfg.SecretKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("configure S3: %w", err)
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = cfg.PathStyle
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
	})
	return &Store{client: client, bucket: cfg.Bucket, where: whereIs(cfg)}, nil
}

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.bucket }

// Ping reports whether the bucket can be reached and read.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.bucket, MaxKeys: aws.Int32(1)})
	if err != nil {
		return fmt.Errorf("S3 bucket %s: %w", s.bucket, s.explain(err))
	}
	return nil
}

// keyOf is the key of one of a version's objects.
func keyOf(ref model.Ref, object string) string {
	return modelsPrefix + ref.Name + "/" + strconv.Itoa(ref.Version) + "/" + object
}

// signatureObject is the name of the object that holds the signatures of a
// manifest. It is bound to the manifest's bytes, so publishers that race for
// one version cannot put their signature beside another's manifest.
func signatureObject(manifest []byte) string {
	return model.ManifestFile + "." + strings.TrimPrefix(model.DigestOf(manifest), "sha256:") + ".sig"
}

// Manifest reads a version's manifest and its digest. An unknown version is
// problem.ModelNotFound. The signature is not looked at: see cache.SignedManifest.
func (s *Store) Manifest(ctx context.Context, ref model.Ref) (*model.Manifest, string, error) {
	m, data, err := s.ReadManifest(ctx, ref)
	if err != nil {
		return nil, "", err
	}
	return m, model.DigestOf(data), nil
}

// ReadManifest is Manifest, with the bytes instead of their digest.
func (s *Store) ReadManifest(ctx context.Context, ref model.Ref) (*model.Manifest, []byte, error) {
	if err := ref.Check(); err != nil {
		return nil, nil, err
	}
	data, err := s.read(ctx, keyOf(ref, model.ManifestFile), model.MaxManifest)
	if errors.Is(err, errMissing) {
		return nil, nil, problem.New(problem.ModelNotFound, "model %q has no published version %d", ref.Name, ref.Version)
	}
	if err != nil {
		return nil, nil, model.Unavailable(ref, fmt.Errorf("%s: %w", model.ManifestFile, err))
	}
	m, err := model.ParseManifest(data)
	if err != nil {
		return nil, nil, model.Unavailable(ref, model.Permanent(err))
	}
	if m.Name != ref.Name || m.Version != ref.Version {
		return nil, nil, model.Unavailable(ref, model.Permanent(fmt.Errorf("%s: it is the manifest of %s@%d", model.ManifestFile, m.Name, m.Version)))
	}
	return m, data, nil
}

// ReadSignatures reads the signatures of a manifest's bytes, one a line; none where
// nobody signed them.
func (s *Store) ReadSignatures(ctx context.Context, ref model.Ref, manifest []byte) ([]byte, error) {
	if err := ref.Check(); err != nil {
		return nil, err
	}
	signatures, err := s.read(ctx, keyOf(ref, signatureObject(manifest)), sign.MaxSignatures)
	if errors.Is(err, errMissing) {
		return nil, nil
	}
	return signatures, err
}

// read gets a whole small object.
func (s *Store) read(ctx context.Context, key string, most int64) ([]byte, error) {
	data, _, err := s.readTagged(ctx, key, most)
	return data, err
}

// tooLarge is an object with more bytes than one of its kind may have.
type tooLarge struct{ most int64 }

func (t tooLarge) Error() string { return fmt.Sprintf("has more than %d bytes", t.most) }

// readTagged is read, and returns the object's ETag, of one that is tooLarge too.
func (s *Store) readTagged(ctx context.Context, key string, most int64) (data []byte, tag string, err error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return nil, "", s.explain(err)
	}
	defer out.Body.Close()
	data, err = io.ReadAll(io.LimitReader(out.Body, most+1))
	if err != nil {
		return nil, "", fmt.Errorf("interrupted: %w", interrupted(err))
	}
	if int64(len(data)) > most {
		return nil, aws.ToString(out.ETag), model.Permanent(tooLarge{most})
	}
	return data, aws.ToString(out.ETag), nil
}

// Names lists the models that have objects, sorted. One whose only version was
// never finished is among them: Versions knows better.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := s.list(ctx, modelsPrefix, "/", func(page *s3.ListObjectsV2Output) {
		for _, p := range page.CommonPrefixes {
			name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), modelsPrefix), "/")
			if _, err := infer.ParseName(name); err == nil {
				names = append(names, name)
			}
		}
	})
	if err != nil {
		return nil, problem.New(problem.Unavailable, "list models: %w", err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Versions lists a model's published versions, newest first; none at all is
// problem.ModelNotFound.
func (s *Store) Versions(ctx context.Context, name string) ([]int, error) {
	listed, err := s.Tagged(ctx, name)
	if err != nil {
		return nil, err
	}
	return numbers(listed), nil
}

// Tagged is Versions, with what distinguishes a version from another that had its
// number before: the ETag of its manifest.
func (s *Store) Tagged(ctx context.Context, name string) ([]model.Listed, error) {
	listed, err := s.tagged(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(listed) == 0 {
		return nil, problem.New(problem.ModelNotFound, "model %q is not published", name)
	}
	return listed, nil
}

func (s *Store) versions(ctx context.Context, name string) ([]int, error) {
	listed, err := s.tagged(ctx, name)
	return numbers(listed), err
}

func numbers(listed []model.Listed) []int {
	var versions []int
	for _, v := range listed {
		versions = append(versions, v.Version)
	}
	return versions
}

func (s *Store) tagged(ctx context.Context, name string) ([]model.Listed, error) {
	if _, err := infer.ParseName(name); err != nil {
		return nil, err
	}
	prefix := modelsPrefix + name + "/"
	var listed []model.Listed
	err := s.list(ctx, prefix, "", func(page *s3.ListObjectsV2Output) {
		for _, o := range page.Contents {
			number, file := path.Split(strings.TrimPrefix(aws.ToString(o.Key), prefix))
			if file != model.ManifestFile {
				continue
			}
			if v, err := infer.ParseVersion(strings.TrimSuffix(number, "/")); err == nil {
				listed = append(listed, model.Listed{Version: v, Tag: aws.ToString(o.ETag)})
			}
		}
	})
	if err != nil {
		return nil, problem.New(problem.Unavailable, "list versions of model %s: %w", name, err)
	}
	slices.SortFunc(listed, func(a, b model.Listed) int { return b.Version - a.Version })
	return listed, nil
}

// Newest is the newest published version of a model.
func (s *Store) Newest(ctx context.Context, name string) (model.Ref, error) {
	versions, err := s.Versions(ctx, name)
	if err != nil {
		return model.Ref{}, err
	}
	return model.Ref{Name: name, Version: versions[0]}, nil
}

// list walks the pages of a listing.
func (s *Store) list(ctx context.Context, prefix, delimiter string, page func(*s3.ListObjectsV2Output)) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	pages, seen := s3.NewListObjectsV2Paginator(s.client, in), 0
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return s.explain(err)
		}
		page(out)
		if seen += len(out.Contents) + len(out.CommonPrefixes); seen > maxListed {
			return fmt.Errorf("more than %d objects under %s", maxListed, prefix)
		}
	}
	return nil
}
