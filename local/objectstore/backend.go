package objectstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/johannesboyne/gofakes3"

	"github.com/modelserveai/modelserve/problem"
)

// backend keeps buckets as folders of one file per object. A PUT writes beside
// and renames, so an object is there whole or not at all; only that rename is
// under the lock, so a slow upload holds up nobody.
type backend struct {
	root    string // buckets/BUCKET/ENCODED-KEY~
	staging string // parts and objects being written; emptied by open

	mu      sync.Mutex // rename, remove, and the conditions checked with them
	uploads map[gofakes3.UploadID]*upload
}

var (
	_ gofakes3.Backend          = (*backend)(nil)
	_ gofakes3.MultipartBackend = (*backend)(nil)
)

func openBackend(dir string) (*backend, error) {
	b := &backend{
		root:    filepath.Join(dir, "buckets"),
		staging: filepath.Join(dir, "staging"),
		uploads: map[gofakes3.UploadID]*upload{},
	}
	// What an earlier process was writing when it died was never visible.
	if err := os.RemoveAll(b.staging); err != nil {
		return nil, fmt.Errorf("clear unfinished uploads: %w", err)
	}
	for _, d := range []string{b.root, b.staging} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("create object store: %w", err)
		}
	}
	return b, nil
}

func (b *backend) bucket(name string) (string, error) {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return "", gofakes3.BucketNotFound(name)
	}
	dir := filepath.Join(b.root, name)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", gofakes3.BucketNotFound(name)
	}
	return dir, nil
}

func (b *backend) object(bucket, key string) (string, error) {
	dir, err := b.bucket(bucket)
	if err != nil {
		return "", err
	}
	path, err := encodeKey(key)
	if err != nil {
		return "", gofakes3.ResourceError(gofakes3.ErrKeyTooLong, key)
	}
	return filepath.Join(dir, path), nil
}

func (b *backend) ListBuckets() ([]gofakes3.BucketInfo, error) {
	entries, err := os.ReadDir(b.root)
	if err != nil {
		return nil, fmt.Errorf("list buckets: %w", err)
	}
	buckets := make([]gofakes3.BucketInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || gofakes3.ValidateBucketName(e.Name()) != nil {
			continue
		}
		buckets = append(buckets, gofakes3.BucketInfo{
			Name: e.Name(), CreationDate: gofakes3.NewContentTime(info.ModTime()),
		})
	}
	return buckets, nil
}

func (b *backend) CreateBucket(name string) error {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return err //nolint:wrapcheck // an S3 error of its own
	}
	if err := os.Mkdir(filepath.Join(b.root, name), 0o700); errors.Is(err, fs.ErrExist) {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	} else if err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}
	return nil
}

func (b *backend) BucketExists(name string) (bool, error) {
	_, err := b.bucket(name)
	return err == nil, nil
}

func (b *backend) DeleteBucket(name string) error {
	dir, err := b.bucket(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Remove(dir); err != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	return nil
}

func (b *backend) ForceDeleteBucket(name string) error {
	dir, err := b.bucket(name)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("delete bucket: %w", err)
	}
	return nil
}

// open opens an object and reads its trailer; the caller closes the file. Where
// a file has the object's name and is not what this store wrote, the error is
// damaged.
func (b *backend) open(bucket, key string) (*os.File, trailer, error) {
	path, err := b.object(bucket, key)
	if len(key) <= maxKey && gofakes3.HasErrorCode(err, gofakes3.ErrKeyTooLong) {
		err = gofakes3.KeyNotFound(key) // S3 would take it; what no file can be named is not here
	}
	if err != nil {
		return nil, trailer{}, err
	}
	f, t, err := openObject(path)
	switch {
	case err == nil:
		return f, t, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, trailer{}, gofakes3.KeyNotFound(key)
	case errors.Is(err, errNotAnObject):
		return nil, trailer{}, gofakes3.ResourceError(damaged, key)
	default:
		return nil, trailer{}, fmt.Errorf("object %s/%s: %w", bucket, key, err)
	}
}

func (b *backend) HeadObject(bucket, key string) (*gofakes3.Object, error) {
	f, t, err := b.open(bucket, key)
	if err != nil {
		return nil, err
	}
	_ = f.Close() // only read
	return &gofakes3.Object{
		Name: key, Hash: t.MD5, Metadata: t.Meta, Size: t.Size, Contents: io.NopCloser(strings.NewReader("")),
	}, nil
}

func (b *backend) GetObject(bucket, key string, want *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	f, t, err := b.open(bucket, key)
	if err != nil {
		return nil, err
	}
	part, err := want.Range(t.Size)
	if err != nil {
		_ = f.Close()   // only read
		return nil, err //nolint:wrapcheck // an S3 error of its own
	}
	start, length := int64(0), t.Size
	if part != nil {
		start, length = part.Start, part.Length
	}
	return &gofakes3.Object{
		Name: key, Hash: t.MD5, Metadata: t.Meta, Size: t.Size, Range: part,
		Contents: section{io.NewSectionReader(f, start, length), f},
	}, nil
}

type section struct {
	io.Reader
	io.Closer
}

func (b *backend) PutObject(
	bucket, key string, meta map[string]string, input io.Reader, size int64, conditions *gofakes3.PutConditions,
) (gofakes3.PutObjectResult, error) {
	var result gofakes3.PutObjectResult
	if err := b.check(bucket, key, conditions); err != nil { // before the body is read; again when it is there
		return result, err
	}
	temporary, _, err := writeObject(b.staging, input, size, meta)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return result, gofakes3.ErrIncompleteBody
	} else if err != nil {
		return result, err
	}
	if err := b.commit(temporary, bucket, key, conditions); err != nil {
		_ = os.Remove(temporary) // the start of the next store removes what is left
		return result, err
	}
	return result, nil
}

// commit makes a written file the object, if the conditions hold at that moment.
func (b *backend) commit(temporary, bucket, key string, conditions *gofakes3.PutConditions) error {
	path, err := b.object(bucket, key)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.check(bucket, key, conditions); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("commit object: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("commit object: %w", err)
	}
	return syncDir(dir)
}

// check holds an object to the conditions of a PUT. One that is damaged is
// there: its bytes are nobody's any more, and its name is not free.
func (b *backend) check(bucket, key string, conditions *gofakes3.PutConditions) error {
	head, err := b.HeadObject(bucket, key)
	info := &gofakes3.ConditionalObjectInfo{Exists: true}
	switch {
	case err == nil:
		info.Hash = head.Hash
	case gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey):
		info.Exists = false
	case !gofakes3.HasErrorCode(err, damaged):
		return err
	}
	if conditions == nil {
		return nil
	}
	return gofakes3.CheckPutConditions(conditions, info) //nolint:wrapcheck // an S3 error of its own
}

func (b *backend) CopyObject(fromBucket, from, toBucket, to string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(b, fromBucket, from, toBucket, to, meta) //nolint:wrapcheck // it calls this backend
}

func (b *backend) DeleteObject(bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	var result gofakes3.ObjectDeleteResult
	path, err := b.object(bucket, key)
	if err != nil {
		return result, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return result, fmt.Errorf("delete object: %w", err)
	}
	// Folders that hold nothing are no prefixes: S3 has none of them either.
	top := filepath.Join(b.root, bucket)
	for dir := filepath.Dir(path); dir != top && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
	return result, nil
}

func (b *backend) DeleteMulti(bucket string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	if _, err := b.bucket(bucket); err != nil {
		return result, err
	}
	for _, key := range keys {
		if _, err := b.DeleteObject(bucket, key); err != nil {
			result.Error = append(result.Error, gofakes3.ErrorResult{
				Key: key, Code: gofakes3.ErrInternal, Message: problem.Reason(err),
			})
			continue
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: key})
	}
	return result, nil
}

// ListBucket lists in the order of the keys' bytes, as S3 does, with pages.
func (b *backend) ListBucket(bucket string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	dir, err := b.bucket(bucket)
	if err != nil {
		return nil, err
	}
	keys, err := b.keys(dir, prefix.Prefix)
	if err != nil {
		return nil, err
	}
	list := gofakes3.NewObjectList()
	for _, key := range keys {
		var match gofakes3.PrefixMatch
		if !prefix.Match(key, &match) {
			continue
		}
		name := key
		if match.CommonPrefix {
			name = match.MatchedPart
		}
		if page.HasMarker && name <= page.Marker {
			continue
		}
		if match.CommonPrefix && slices.ContainsFunc(list.CommonPrefixes, func(p gofakes3.CommonPrefix) bool { return p.Prefix == name }) {
			continue
		}
		if page.MaxKeys > 0 && int64(len(list.Contents)+len(list.CommonPrefixes)) == page.MaxKeys {
			list.IsTruncated = true
			break
		}
		if match.CommonPrefix {
			list.AddPrefix(name)
		} else if err := b.add(list, bucket, key); err != nil {
			return nil, err
		}
		list.NextMarker = name
	}
	if !list.IsTruncated {
		list.NextMarker = ""
	}
	return list, nil
}

// add lists an object. One that is damaged is listed too, without an ETag: what
// has a name that was given must not read as if nobody had taken it.
func (b *backend) add(list *gofakes3.ObjectList, bucket, key string) error {
	path, err := b.object(bucket, key)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since
	} else if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	content := &gofakes3.Content{Key: key, LastModified: gofakes3.NewContentTime(info.ModTime()), Size: info.Size()}
	f, t, err := b.open(bucket, key)
	switch {
	case err == nil:
		_ = f.Close() // only read
		content.ETag, content.Size = gofakes3.FormatETag(t.MD5), t.Size
	case gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey):
		return nil // deleted since
	case !gofakes3.HasErrorCode(err, damaged):
		return err
	}
	list.Add(content)
	return nil
}

// keys are the bucket's keys below the folder that the prefix names, sorted.
func (b *backend) keys(dir, prefix string) ([]string, error) {
	start := dir
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		path, err := encodeKey(prefix[:i])
		if err != nil {
			return nil, nil //nolint:nilerr // no key can be that long, so none begins so
		}
		start = filepath.Join(dir, strings.TrimSuffix(path, fileSuffix))
	}
	var keys []string
	err := filepath.WalkDir(start, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		key, ok := decodeKey(relative)
		if ok {
			keys = append(keys, key)
		}
		if ok && entry.IsDir() {
			return fs.SkipDir // a folder of somebody else's, in an object's place
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	sort.Strings(keys)
	return keys, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func newID() string { return rand.Text() }
