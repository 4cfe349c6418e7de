package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// Draft is a version to publish.
type Draft struct {
	Name    string
	Version int // 0 takes the next free one

	infer.Signature

	Batching *model.Batching // the publisher's settings; nil leaves batches to the server
	Cost     *model.Cost     // what was measured; it differs from push to push, and makes no other version
	Metadata map[string]string
	Files    []DraftFile
}

// DraftFile is one file of a draft.
type DraftFile struct {
	Path      string        // its name in the version; the model's is ModelFile
	Source    string        // where it is on this disk
	Optimized *model.Target // what an .ort file was made for
}

// Published is what Publish did.
type Published struct {
	Ref       model.Ref
	Digest    string
	Manifest  *model.Manifest
	Unchanged bool // the version was there already, with these bytes
}

// Publishing is how a draft is published.
type Publishing struct {
	Signer   *sign.Signer            // nil leaves it unsigned
	Progress func(done, total int64) // bytes uploaded; nil is none. It is called from several goroutines
}

// maxClaims bounds the free versions that a publisher tries for when others
// take them first.
const maxClaims = 50

// Publish uploads a draft's files and then its manifest, whose conditional
// write is the one moment at which the version exists. The same model again
// (its own bytes and its external data's) is Unchanged; another one for a
// version that exists is problem.VersionExists. With other settings of its
// publisher (bounds on requests, batching, ragged axes) the same model is a new
// version where the number is open, and Unchanged where it is named. Of several
// publishers that race for a version one wins; those who left the number open
// take the next. The number of a deleted version is never taken again; one that
// is named is problem.VersionExists (ErrDeleted). What was published is
// announced to readers (Generation).
func (s *Store) Publish(ctx context.Context, d Draft, how Publishing) (*Published, error) {
	free := d.Version == 0
	if free {
		d.Version = 1
	}
	if _, err := infer.NewName(d.Name); err != nil {
		return nil, err
	}
	m, sources, err := d.manifest()
	if err != nil {
		return nil, err
	}
	for range maxClaims {
		newest := 0
		if free {
			if newest, m.Version, err = s.next(ctx, m.Name); err != nil {
				return nil, err
			}
		}
		done, err := s.existing(ctx, m, free, newest)
		if done != nil || err != nil {
			return done, err
		}
		if m.Version > infer.MaxVersion {
			return nil, problem.New(problem.Conflict,
				"model %s has no next version, as %d, the highest that there can be, is taken: name a lower one that is free", m.Name, infer.MaxVersion)
		}
		done, err = s.commit(ctx, m, sources, how)
		if done != nil || err != nil {
			return done, err
		}
		// Another publisher was faster: look again at what it published.
	}
	return nil, problem.New(problem.Conflict, "model %s: others took %d versions in a row; try again", m.Name, maxClaims)
}

// next is the newest published version, 0 where there is none, and the number
// after it and after every deleted one. The listing goes first: a version that
// it no longer has is recorded as deleted by then.
func (s *Store) next(ctx context.Context, name string) (newest, next int, err error) {
	versions, err := s.versions(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	gone, err := s.deleted(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	if len(versions) > 0 {
		newest = versions[0]
	}
	return newest, max(newest, gone.last()) + 1, nil
}

// existing compares the draft with the version it would be, or, where the
// number is free, with the newest; a number that was deleted is refused. A
// newest one that cannot be read any more is like no other, and keeps its number.
func (s *Store) existing(ctx context.Context, m *model.Manifest, free bool, newest int) (*Published, error) {
	ref := model.Ref{Name: m.Name, Version: m.Version}
	if free {
		ref.Version = newest
	}
	if ref.Version == 0 {
		return nil, nil // nothing is published, and nothing is wrong
	}
	have, digest, err := s.Manifest(ctx, ref)
	if problem.CodeOf(err) == problem.ModelNotFound {
		if free {
			return nil, nil // as above
		}
		return nil, s.CheckNumber(ctx, ref)
	}
	switch {
	case free && model.IsPermanent(err):
		return nil, nil // a new version
	case err != nil:
		return nil, err
	case slices.Equal(pushed(have), pushed(m)) && (!free || sameSettings(have, m)):
		return &Published{Ref: ref, Digest: digest, Manifest: have, Unchanged: true}, nil
	case free:
		return nil, nil // a new version
	}
	return nil, problem.New(problem.VersionExists,
		"model %s is published with other bytes (%s), and a version never changes: leave the version out to take the next", ref, digest)
}

// pushed lists what its publisher pushed: name and hash of the model and its external
// data, sorted.
func pushed(m *model.Manifest) []string {
	var s []string
	for _, f := range m.Files {
		if f.Optimized == nil {
			s = append(s, f.Path+" "+f.SHA256)
		}
	}
	slices.Sort(s)
	return s
}

// sameSettings reports whether the publishers of two manifests of the same model
// set the same: the bounds on requests, and how they are batched. What was
// measured is no setting.
func sameSettings(a, b *model.Manifest) bool {
	return a.MaxElements == b.MaxElements && a.Batching.Equal(b.Batching) &&
		slices.EqualFunc(a.Inputs, b.Inputs, func(x, y infer.TensorSpec) bool {
			return slices.Equal(x.MinShape, y.MinShape) && slices.Equal(x.MaxShape, y.MaxShape) && sameRagged(x.Ragged, y.Ragged)
		})
}

// sameRagged leaves out up to which length padding was proven, and of which rows,
// for that is measured; but where it was not, as in older manifests, it is another setting.
func sameRagged(a, b *infer.Ragged) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Max, y.Max = min(x.Max, 1), min(y.Max, 1)
	x.Before, y.Before, x.Blank, y.Blank = 0, 0, false, false
	return x == y
}

// commit uploads everything; it returns nil, nil when the version was taken
// meanwhile.
func (s *Store) commit(ctx context.Context, m *model.Manifest, sources map[string]string, how Publishing) (*Published, error) {
	ref := model.Ref{Name: m.Name, Version: m.Version}
	data, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	var total, done atomic.Int64
	for _, f := range m.Files {
		total.Add(f.Size)
	}
	report := func(n int64) {
		if how.Progress != nil {
			how.Progress(done.Add(n), total.Load())
		}
	}
	for _, f := range m.Files {
		if err := s.upload(ctx, keyOf(ref, f.Object), sources[f.Path], f, report); err != nil {
			return nil, publishing(ref, fmt.Errorf("%s: %w", f.Path, err))
		}
	}
	if how.Signer != nil {
		key := keyOf(ref, signatureObject(data))
		if err := s.put(ctx, key, bytes.NewReader(how.Signer.Sign(data)), condition{}); err != nil {
			return nil, publishing(ref, fmt.Errorf("signature: %w", err))
		}
	}
	err = s.put(ctx, keyOf(ref, model.ManifestFile), bytes.NewReader(data), condition{new: true})
	if errors.Is(err, errTaken) {
		// An answer lost on the way makes the client try again, and find what
		// it wrote itself.
		if now, digest, err := s.Manifest(ctx, ref); err == nil && digest == model.DigestOf(data) {
			s.announce(ctx)
			return &Published{Ref: ref, Digest: digest, Manifest: now}, nil
		}
		return nil, nil // taken
	}
	if err != nil {
		return nil, publishing(ref, fmt.Errorf("%s: %w", model.ManifestFile, err))
	}
	// While the files went up, others may have published this number and deleted
	// it again.
	switch err := s.CheckNumber(ctx, ref); {
	case errors.Is(err, ErrDeleted):
		return nil, s.delete(ctx, []model.Ref{ref}, false) // taken
	case err != nil:
		return nil, publishing(ref, err)
	}
	s.announce(ctx)
	return &Published{Ref: ref, Digest: model.DigestOf(data), Manifest: m}, nil
}

func publishing(ref model.Ref, err error) error {
	if errors.Is(err, model.ErrUnreachable) || errors.Is(err, errFails) {
		return problem.New(problem.Unavailable, "publish model %s: %w", ref, err)
	}
	return fmt.Errorf("publish model %s: %w", ref, err)
}

// manifest hashes the files and makes the manifest of them. sources is where each
// path is on disk.
func (d *Draft) manifest() (m *model.Manifest, sources map[string]string, err error) {
	m = &model.Manifest{
		Schema: model.Schema, Name: d.Name, Version: d.Version, Platform: model.Platform,
		Signature: d.Signature, Batching: d.Batching, Cost: d.Cost, Metadata: d.Metadata,
	}
	if m.Inputs == nil {
		m.Inputs = []infer.TensorSpec{}
	}
	sources = map[string]string{}
	for _, f := range d.Files {
		sum, size, err := hashFile(f.Source)
		if err != nil {
			return nil, nil, fmt.Errorf("publish model %s: %s: %w", d.Name, f.Path, err)
		}
		m.Files = append(m.Files, model.File{
			Path: f.Path, Object: sum[:32] + "-" + f.Path, Size: size, SHA256: sum, Optimized: f.Optimized,
		})
		sources[f.Path] = f.Source
	}
	if err := m.Check(); err != nil {
		return nil, nil, problem.New(problem.InvalidArgument, "publish model %.100q: %w", d.Name, err)
	}
	return m, sources, nil
}

func hashFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// Parts of a multipart upload: S3 takes at most 10,000, of at least 5 MiB.
const (
	partSize    = 8 << 20
	maxParts    = 9000
	partsAtOnce = 4
)

// upload puts one file. What was hashed is what must arrive: a file that
// changes meanwhile fails.
func (s *Store) upload(ctx context.Context, key, source string, f model.File, report func(int64)) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	before, err := file.Stat()
	if err != nil {
		return err
	}
	if f.Size <= partSize {
		err = s.put(ctx, key, io.NewSectionReader(file, 0, f.Size), condition{})
		report(f.Size)
	} else {
		err = s.multipart(ctx, key, file, f.Size, report)
	}
	if err != nil {
		return err
	}
	sum, _, err := hashFile(source)
	if err != nil {
		return err
	}
	after, err := os.Stat(source)
	if err != nil {
		return err
	}
	if sum != f.SHA256 || after.Size() != before.Size() {
		return errors.New("it changed while it was being uploaded")
	}
	return nil
}

// errTaken is the answer of a conditional write whose condition does not hold.
var errTaken = errors.New("the object exists, or has changed")

// condition is what must hold of an object for it to be written.
type condition struct {
	new   bool   // there is none
	match string // the ETag of the one there; "" is any
}

func (s *Store) put(ctx context.Context, key string, body io.ReadSeeker, only condition) error {
	in := &s3.PutObjectInput{Bucket: &s.bucket, Key: &key, Body: body}
	if only.new {
		in.IfNoneMatch = aws.String("*")
	}
	if only.match != "" {
		in.IfMatch = &only.match
	}
	_, err := s.client.PutObject(ctx, in)
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) &&
		(response.HTTPStatusCode() == http.StatusPreconditionFailed || response.HTTPStatusCode() == http.StatusConflict) {
		return errTaken
	}
	return s.explain(err)
}

func (s *Store) multipart(ctx context.Context, key string, file io.ReaderAt, size int64, report func(int64)) error {
	created, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return s.explain(err)
	}
	parts, err := s.parts(ctx, key, created.UploadId, file, size, report)
	if err == nil {
		_, err = s.client.CompleteMultipartUpload(ctx, completion(s.bucket, key, created.UploadId, parts))
		if err == nil {
			return nil
		}
		err = s.explain(err)
	}
	// Parts are paid for until the upload is aborted, even when ctx has ended.
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, aborted := s.client.AbortMultipartUpload(abort, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: created.UploadId})
	return errors.Join(err, s.explain(aborted))
}

// parts uploads a file's parts, several at once, and returns their tags.
func (s *Store) parts(ctx context.Context, key string, id *string, file io.ReaderAt, size int64, report func(int64)) ([]*string, error) {
	part := max(partSize, (size+maxParts-1)/maxParts)
	tags := make([]*string, (size+part-1)/part)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for i := range tags {
		g.Go(func() error {
			offset := int64(i) * part
			length := min(part, size-offset)
			out, err := s.client.UploadPart(gctx, &s3.UploadPartInput{
				Bucket: &s.bucket, Key: &key, UploadId: id, PartNumber: aws.Int32(int32(i + 1)),
				Body: io.NewSectionReader(file, offset, length),
			})
			if err != nil {
				return s.explain(err)
			}
			tags[i] = out.ETag
			report(length)
			return nil
		})
	}
	return tags, g.Wait()
}

func completion(bucket, key string, id *string, tags []*string) *s3.CompleteMultipartUploadInput {
	parts := make([]types.CompletedPart, len(tags))
	for i, tag := range tags {
		parts[i] = types.CompletedPart{ETag: tag, PartNumber: aws.Int32(int32(i + 1))}
	}
	return &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
}
