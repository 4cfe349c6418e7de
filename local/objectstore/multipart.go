package objectstore

import (
	"crypto/md5" //nolint:gosec // S3's ETag of a multipart object is an MD5 of MD5s; nothing is secured by it
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// Bounds of one store's unfinished uploads; S3's own on parts are larger.
const (
	maxUploads = 1000
	maxParts   = 10000
)

// upload is a multipart upload in progress. Its parts are files; the list of
// them is lost with the process, and so are the files at the next start.
type upload struct {
	bucket, key string
	meta        map[string]string
	dir         string
	begun       time.Time
	parts       map[int]part // under backend.mu
}

type part struct {
	path string
	trailer
	written time.Time
}

func (b *backend) CreateMultipartUpload(bucket, key string, meta map[string]string) (gofakes3.UploadID, error) {
	if _, err := b.object(bucket, key); err != nil {
		return "", err
	}
	id := gofakes3.UploadID(newID())
	u := &upload{
		bucket: bucket, key: key, meta: meta, begun: time.Now(), parts: map[int]part{},
		dir: filepath.Join(b.staging, "upload-"+string(id)),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.uploads) >= maxUploads {
		return "", gofakes3.ErrorMessagef(gofakes3.ErrInternal, "%d uploads are unfinished; finish or abort some", maxUploads)
	}
	if err := os.Mkdir(u.dir, 0o700); err != nil {
		return "", fmt.Errorf("begin upload: %w", err)
	}
	b.uploads[id] = u
	return id, nil
}

func (b *backend) upload(bucket, key string, id gofakes3.UploadID) (*upload, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.uploads[id]
	if u == nil || u.bucket != bucket || u.key != key {
		return nil, gofakes3.ErrNoSuchUpload
	}
	return u, nil
}

func (b *backend) UploadPart(bucket, key string, id gofakes3.UploadID, number int, size int64, input io.Reader) (string, error) {
	u, err := b.upload(bucket, key, id)
	if err != nil {
		return "", err
	}
	if number < 1 || number > maxParts {
		return "", gofakes3.ErrInvalidPart
	}
	path, t, err := writeObject(u.dir, input, size, nil)
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := u.parts[number]; ok {
		_ = os.Remove(old.path) // goes with the upload's folder at the latest
	}
	u.parts[number] = part{path: path, trailer: t, written: time.Now()}
	return gofakes3.FormatETag(t.MD5), nil
}

func (b *backend) AbortMultipartUpload(bucket, key string, id gofakes3.UploadID) error {
	u, err := b.upload(bucket, key, id)
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.uploads, id)
	b.mu.Unlock()
	if err := os.RemoveAll(u.dir); err != nil {
		return fmt.Errorf("abort upload: %w", err)
	}
	return nil
}

func (b *backend) CompleteMultipartUpload(
	bucket, key string, id gofakes3.UploadID, input *gofakes3.CompleteMultipartUploadRequest,
) (gofakes3.VersionID, string, error) {
	u, err := b.upload(bucket, key, id)
	if err != nil {
		return "", "", err
	}
	parts, etag, err := b.chosen(u, input)
	if err != nil {
		return "", "", err
	}
	size := int64(0)
	readers := make([]io.Reader, len(parts))
	for i, p := range parts {
		f, err := os.Open(p.path)
		if err != nil {
			return "", "", fmt.Errorf("complete upload: part: %w", err)
		}
		defer f.Close()
		readers[i] = io.NewSectionReader(f, 0, p.Size)
		size += p.Size
	}
	if _, err := b.PutObject(bucket, key, u.meta, io.MultiReader(readers...), size, nil); err != nil {
		return "", "", err
	}
	return "", etag, b.AbortMultipartUpload(bucket, key, id)
}

// chosen are the parts a completion names, in its order, and the object's ETag.
func (b *backend) chosen(u *upload, input *gofakes3.CompleteMultipartUploadRequest) ([]part, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(input.Parts) == 0 {
		return nil, "", gofakes3.ErrMalformedXML
	}
	hash := md5.New() //nolint:gosec // see the import
	parts, last := make([]part, 0, len(input.Parts)), 0
	for _, in := range input.Parts {
		if in.PartNumber <= last {
			return nil, "", gofakes3.ErrInvalidPartOrder
		}
		last = in.PartNumber
		p, ok := u.parts[in.PartNumber]
		if !ok || strings.Trim(in.ETag, `"`) != hex.EncodeToString(p.MD5) {
			return nil, "", gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "part %d was not uploaded with that ETag", in.PartNumber)
		}
		parts = append(parts, p)
		_, _ = hash.Write(p.MD5) // a hash never fails
	}
	return parts, fmt.Sprintf(`"%x-%d"`, hash.Sum(nil), len(parts)), nil
}

func (b *backend) ListMultipartUploads(
	bucket string, _ *gofakes3.UploadListMarker, prefix gofakes3.Prefix, limit int64,
) (*gofakes3.ListMultipartUploadsResult, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	result := &gofakes3.ListMultipartUploadsResult{Bucket: bucket, Prefix: prefix.Prefix, MaxUploads: limit}
	for id, u := range b.uploads {
		if u.bucket == bucket && strings.HasPrefix(u.key, prefix.Prefix) {
			result.Uploads = append(result.Uploads, gofakes3.ListMultipartUploadItem{
				Key: u.key, UploadID: id, StorageClass: "STANDARD", Initiated: gofakes3.NewContentTime(u.begun),
			})
		}
	}
	sort.Slice(result.Uploads, func(i, j int) bool { return result.Uploads[i].UploadID < result.Uploads[j].UploadID })
	return result, nil
}

func (b *backend) ListParts(bucket, key string, id gofakes3.UploadID, marker int, limit int64) (*gofakes3.ListMultipartUploadPartsResult, error) {
	u, err := b.upload(bucket, key, id)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	result := &gofakes3.ListMultipartUploadPartsResult{
		Bucket: bucket, Key: key, UploadID: id, MaxParts: limit, PartNumberMarker: marker, StorageClass: "STANDARD",
	}
	numbers := make([]int, 0, len(u.parts))
	for n := range u.parts {
		if n > marker {
			numbers = append(numbers, n)
		}
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		if limit > 0 && int64(len(result.Parts)) == limit {
			result.IsTruncated, result.NextPartNumberMarker = true, result.Parts[len(result.Parts)-1].PartNumber
			break
		}
		p := u.parts[n]
		result.Parts = append(result.Parts, gofakes3.ListMultipartUploadPartItem{
			PartNumber: n, ETag: gofakes3.FormatETag(p.MD5), Size: p.Size, LastModified: gofakes3.NewContentTime(p.written),
		})
	}
	return result, nil
}
