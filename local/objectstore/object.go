package objectstore

import (
	"crypto/md5" //nolint:gosec // S3's ETag of a single PUT is the MD5 of its bytes; nothing is secured by it
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/johannesboyne/gofakes3"

	"github.com/modelserveai/modelserve/internal/regular"
)

// An object is one file: its bytes, then a JSON trailer, the trailer's length
// as eight big-endian bytes, and a magic. So bytes and metadata appear together
// by one rename, and a reader that has the file open keeps what it opened.
const (
	magic       = "MSOBJ\x00v1"
	footerSize  = 8 + len(magic)
	maxTrailer  = 64 << 10
	fileSuffix  = "~" // what no encoded directory ends in, so "a" and "a/b" can both be keys
	maxFileName = 255
	maxKey      = 1024 // bytes, as in S3
)

// trailer is what is kept of an object beside its bytes.
type trailer struct {
	Size int64             `json:"size"`
	MD5  []byte            `json:"md5"`
	Meta map[string]string `json:"meta,omitempty"`
}

// errNotAnObject marks a file that this store did not write to its end, or that
// something else has written to since.
var errNotAnObject = errors.New("not an object of this store")

// damaged is the S3 error of such a file, which artifact knows by its name.
const damaged gofakes3.ErrorCode = "ObjectDamaged"

// encodeKey turns a key into a relative path that stays below its folder: each
// segment keeps letters, digits, '.', '_' and '-', all else is %XX, and the
// segments "", "." and ".." are written so that no file system reads them.
func encodeKey(key string) (string, error) {
	if key == "" || len(key) > maxKey {
		return "", fmt.Errorf("key of %d bytes: expected 1 to %d", len(key), maxKey)
	}
	segments := strings.Split(key, "/")
	for i, s := range segments {
		e := encodeSegment(s)
		if len(e)+len(fileSuffix) > maxFileName {
			return "", fmt.Errorf("key segment %.40q… is too long for a file name", s)
		}
		segments[i] = e
	}
	return filepath.Join(segments...) + fileSuffix, nil
}

func encodeSegment(s string) string {
	if strings.Trim(s, ".") == "" {
		return "%" + strings.Repeat(".", len(s)) // '%' is followed by two hex digits anywhere else
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// decodeKey is encodeKey's inverse; ok is false for a path it did not make.
func decodeKey(path string) (key string, ok bool) {
	path, ok = strings.CutSuffix(path, fileSuffix)
	if !ok {
		return "", false
	}
	segments := strings.Split(filepath.ToSlash(path), "/")
	for i, s := range segments {
		if segments[i], ok = decodeSegment(s); !ok {
			return "", false
		}
	}
	return strings.Join(segments, "/"), true
}

func decodeSegment(s string) (string, bool) {
	if dots, ok := strings.CutPrefix(s, "%"); ok && strings.Trim(dots, ".") == "" {
		return dots, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		var c byte
		if i+2 >= len(s) {
			return "", false
		}
		if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &c); err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), true
}

// writeObject writes r's bytes and the trailer to a new file in dir and returns
// its path. size, when not negative, must be what r gives. On an error nothing
// is left behind.
func writeObject(dir string, r io.Reader, size int64, meta map[string]string) (path string, t trailer, err error) {
	f, err := os.CreateTemp(dir, "put-*")
	if err != nil {
		return "", t, fmt.Errorf("create temporary object: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("write object: %w", closeErr)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the start of the next store removes what is left
		}
	}()
	hash := md5.New() //nolint:gosec // see the import
	n, err := io.Copy(io.MultiWriter(f, hash), r)
	if err != nil {
		return "", t, fmt.Errorf("write object: %w", err)
	}
	if size >= 0 && n != size {
		return "", t, fmt.Errorf("body of %d bytes, %d were announced: %w", n, size, io.ErrUnexpectedEOF)
	}
	t = trailer{Size: n, MD5: hash.Sum(nil), Meta: meta}
	text, err := json.Marshal(t)
	if err != nil {
		return "", t, fmt.Errorf("encode metadata: %w", err)
	}
	if len(text) > maxTrailer {
		return "", t, fmt.Errorf("metadata of %d bytes: at most %d are kept", len(text), maxTrailer)
	}
	text = binary.BigEndian.AppendUint64(text, uint64(len(text)))
	if _, err := f.Write(append(text, magic...)); err != nil {
		return "", t, fmt.Errorf("write object: %w", err)
	}
	if err := f.Sync(); err != nil {
		return "", t, fmt.Errorf("write object: %w", err)
	}
	return f.Name(), t, nil
}

// openObject opens the file of an object and reads its trailer. What has the
// file's name and is no file of this store, or none that can be read, is
// errNotAnObject; nothing at all is fs.ErrNotExist.
func openObject(path string) (*os.File, trailer, error) {
	f, err := regular.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, there := os.Lstat(path); there == nil {
			return nil, trailer{}, errNotAnObject // a link that leads nowhere
		}
	}
	if err == nil {
		var t trailer
		if t, err = readTrailer(f); err == nil {
			return f, t, nil
		}
		_ = f.Close() // only read
	}
	for _, lasting := range []error{regular.ErrNotRegular, syscall.EACCES, syscall.EPERM, syscall.EIO, syscall.ELOOP} {
		if errors.Is(err, lasting) {
			return nil, trailer{}, errNotAnObject
		}
	}
	return nil, trailer{}, fmt.Errorf("open object: %w", err)
}

// readTrailer reads an object's trailer and checks it against the file's size.
func readTrailer(f *os.File) (trailer, error) {
	var t trailer
	info, err := f.Stat()
	if err != nil {
		return t, fmt.Errorf("read object: %w", err)
	}
	if info.Size() < int64(footerSize) {
		return t, errNotAnObject
	}
	footer := make([]byte, footerSize)
	if _, err := f.ReadAt(footer, info.Size()-int64(footerSize)); err != nil {
		return t, fmt.Errorf("read object: %w", err)
	}
	length := binary.BigEndian.Uint64(footer)
	if string(footer[8:]) != magic || length > maxTrailer || int64(length) > info.Size()-int64(footerSize) {
		return t, errNotAnObject
	}
	text := make([]byte, length)
	start := info.Size() - int64(footerSize) - int64(len(text))
	if _, err := f.ReadAt(text, start); err != nil {
		return t, fmt.Errorf("read object: %w", err)
	}
	if err := json.Unmarshal(text, &t); err != nil || t.Size != start {
		return t, errNotAnObject
	}
	return t, nil
}
