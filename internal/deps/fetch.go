package deps

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Fetcher brings wheels' members into a folder.
type Fetcher struct {
	Dir string    // where fetched things lie
	Pip []string  // the command that is pip; nil looks for one
	Out io.Writer // progress, a line at a time

	mu sync.Mutex // guards Out
}

// Fetch brings what of wheels is not there yet. What was fetched before is
// known by its stamp, so a second call costs a few stats; what an earlier call
// left unfinished is taken up wheel by wheel. Two calls at once take turns.
func (f *Fetcher) Fetch(ctx context.Context, wheels []Wheel) error {
	if err := os.MkdirAll(filepath.Join(f.Dir, "wheels"), 0o755); err != nil {
		return fmt.Errorf("make the folder for fetched things: %w", err)
	}
	unlock, err := lock(filepath.Join(f.Dir, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	var missing []Wheel
	for _, w := range wheels {
		there, err := f.has(&w)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, w)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if f.Pip == nil {
		if f.Pip, err = findPip(ctx); err != nil {
			return err
		}
	}
	errs := make([]error, len(missing))
	var wg sync.WaitGroup
	for i := range missing {
		wg.Go(func() { errs[i] = f.wheel(ctx, &missing[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// wheel fetches one wheel, checks it, and takes its members out.
func (f *Fetcher) wheel(ctx context.Context, w *Wheel) error {
	began := time.Now()
	path, byHand, err := f.obtain(ctx, w)
	if err != nil {
		return err
	}
	if err := check(path, w.SHA256, w.Size); err != nil {
		return fmt.Errorf("wheel of %s %s: %w", w.Package, w.Version, err)
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("open the wheel of %s %s: %w", w.Package, w.Version, err)
	}
	defer archive.Close()
	for i := range w.Members {
		if err := f.extract(archive, &w.Members[i]); err != nil {
			return fmt.Errorf("wheel of %s %s: %w", w.Package, w.Version, err)
		}
	}
	if err := f.stamp(w); err != nil {
		return err
	}
	if !byHand {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			return fmt.Errorf("remove the wheel of %s: %w", w.Package, err)
		}
	}
	f.report("  %-12s %-8s %6.1f MB fetched and checked in %.1f s", w.Package, w.Version, float64(w.Size)/1e6, time.Since(began).Seconds())
	return nil
}

// obtain finds a wheel put in place by hand, or downloads it.
func (f *Fetcher) obtain(ctx context.Context, w *Wheel) (path string, byHand bool, err error) {
	if found := f.find(filepath.Join(f.Dir, "wheels"), w); found != "" {
		return found, true, nil
	}
	dir := filepath.Join(f.Dir, "wheels", w.Package+".part")
	if found := f.find(dir, w); found != "" && check(found, w.SHA256, w.Size) == nil {
		return found, false, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", false, fmt.Errorf("clear an earlier download: %w", err)
	}
	if err := f.download(ctx, w, dir); err != nil {
		return "", false, err
	}
	if found := f.find(dir, w); found != "" {
		return found, false, nil
	}
	return "", false, fmt.Errorf("pip downloaded no wheel of %s %s", w.Package, w.Version)
}

func (f *Fetcher) find(dir string, w *Wheel) string {
	found, err := filepath.Glob(filepath.Join(dir, strings.ReplaceAll(w.Package, "-", "_")+"-"+w.Version+"-*.whl"))
	if err != nil {
		return ""
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Size() == w.Size {
			return path
		}
	}
	return ""
}

// extract writes one member beside its place, checks it and moves it there.
func (f *Fetcher) extract(archive *zip.ReadCloser, m *Member) error {
	in, err := archive.Open(m.Name)
	if err != nil {
		return fmt.Errorf("take out %s: %w", m.Name, err)
	}
	defer in.Close()
	path := filepath.Join(f.Dir, filepath.FromSlash(m.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("take out %s: %w", m.Name, err)
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".fetch-*")
	if err != nil {
		return fmt.Errorf("take out %s: %w", m.Name, err)
	}
	defer os.Remove(out.Name())
	_, copyErr := io.Copy(out, io.LimitReader(in, m.Size+1))
	if err := errors.Join(copyErr, out.Chmod(0o644), out.Close()); err != nil {
		return fmt.Errorf("take out %s: %w", m.Name, err)
	}
	if err := check(out.Name(), m.SHA256, m.Size); err != nil {
		return fmt.Errorf("member %s: %w", m.Name, err)
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return fmt.Errorf("take out %s: %w", m.Name, err)
	}
	return nil
}

// check holds a file to its pinned size and sha256.
func check(path, sum string, size int64) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer in.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, in)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if n != size {
		return fmt.Errorf("it has %d bytes, and %d are pinned", n, size)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("its sha256 is %s, and %s is pinned", got, sum)
	}
	return nil
}

// mark is what the stamp keeps of an extracted file, so that it is hashed once
// and known by a stat from then on.
type mark struct {
	SHA256  string
	Size    int64
	ModTime time.Time
}

func (f *Fetcher) stampPath(w *Wheel) string {
	return filepath.Join(f.Dir, ".stamps", w.Package+".json")
}

func (f *Fetcher) stamp(w *Wheel) error {
	marks := map[string]mark{}
	for _, m := range w.Members {
		info, err := os.Stat(filepath.Join(f.Dir, m.Path))
		if err != nil {
			return fmt.Errorf("stamp %s: %w", w.Package, err)
		}
		marks[m.Path] = mark{m.SHA256, info.Size(), info.ModTime()}
	}
	data, err := json.Marshal(marks)
	if err != nil {
		return fmt.Errorf("stamp %s: %w", w.Package, err)
	}
	path := f.stampPath(w)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("stamp %s: %w", w.Package, err)
	}
	if err := os.WriteFile(path+".tmp", data, 0o644); err != nil {
		return fmt.Errorf("stamp %s: %w", w.Package, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("stamp %s: %w", w.Package, err)
	}
	return nil
}

// has reports whether every member is there as it was stamped. A copy of the
// folder has other times: such a file is hashed, and stamped again if it is the
// pinned one.
func (f *Fetcher) has(w *Wheel) (bool, error) {
	data, err := os.ReadFile(f.stampPath(w))
	if err != nil {
		return false, nil //nolint:nilerr // without a stamp it is fetched
	}
	var marks map[string]mark
	if json.Unmarshal(data, &marks) != nil {
		return false, nil //nolint:nilerr // a stamp that cannot be read is none
	}
	moved := false
	for _, m := range w.Members {
		path := filepath.Join(f.Dir, m.Path)
		info, err := os.Stat(path)
		known := marks[m.Path]
		if err != nil || known.SHA256 != m.SHA256 || info.Size() != known.Size {
			return false, nil //nolint:nilerr // what cannot be read is fetched
		}
		if info.ModTime().Equal(known.ModTime) {
			continue
		}
		if check(path, m.SHA256, m.Size) != nil {
			return false, nil //nolint:nilerr // another file is fetched over
		}
		moved = true
	}
	if moved {
		return true, f.stamp(w)
	}
	return true, nil
}

func (f *Fetcher) report(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _ = fmt.Fprintf(f.Out, format+"\n", args...) // a progress line nobody reads is no failure
}

// lock waits for the folder's lock, which ends with its process.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock fetched things: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock fetched things: %w", err), file.Close())
	}
	return func() { file.Close() }, nil
}

// downloaded sums the bytes below a folder.
func downloaded(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a file that has just been moved away
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}
