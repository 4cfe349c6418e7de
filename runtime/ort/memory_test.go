package ort_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// zeros is an image for the models that read x.
func zeros(shape ...int64) []infer.Tensor {
	t := infer.Tensor{Name: "x", DataType: infer.FP32, Shape: shape}
	t.Data = make([]byte, t.Elements()*4)
	return []infer.Tensor{t}
}

func runOnce(s *ort.Session, inputs []infer.Tensor) error {
	_, release, err := s.Run(context.Background(), memory.Unbounded{}, inputs, nil)
	if err != nil {
		return err
	}
	release()
	return nil
}

func TestMemoryIsGivenBack(t *testing.T) {
	t.Parallel()
	out, err := child(t, "cycles").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// cycles loads, runs and unloads shipped models a hundred times, with a large
// image now and then, and compares what is resident.
func cycles() error {
	l, err := ort.Open(os.Getenv(ort.LibraryVariable))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ort")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	models := filepath.Dir(filepath.Dir(os.Getenv("MODEL")))
	var paths []string
	for i, name := range shipped {
		paths = append(paths, filepath.Join(dir, strconv.Itoa(i)+".ort"))
		if err := l.Optimize(filepath.Join(models, name), paths[i]); err != nil {
			return err
		}
	}
	cycle := func(i int) error {
		which := i % len(paths)
		inputs := samples(shipped[which])
		if which == 0 && i%(8*len(paths)) == 0 {
			inputs = zeros(1, 3, 736, 992)
		}
		s, err := l.Open(paths[which], ort.Options{})
		if err != nil {
			return err
		}
		return errors.Join(runOnce(s, inputs), s.Close())
	}
	// What stays after one cycle depends on which of the C library's arenas its
	// threads had: the least of some is what is really held.
	done := 0
	least := func(cycles int) (int64, error) {
		var low int64
		for range cycles {
			if err := cycle(done); err != nil {
				return 0, err
			}
			done++
			if now := resident(); low == 0 || now < low {
				low = now
			}
		}
		return low, nil
	}
	// The library's own code comes into memory with its first use, and the heaps
	// find their size: the large image comes twice.
	for range 8*len(paths) + 1 {
		if err := cycle(done); err != nil {
			return err
		}
		done++
	}
	before, err := least(2 * len(paths))
	if err != nil {
		return err
	}
	for range 100 - 2*len(paths) {
		if err := cycle(done); err != nil {
			return err
		}
		done++
	}
	after, err := least(2 * len(paths))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "resident before 100 cycles: %.1f MB, after: %.1f MB\n", float64(before)/1e6, float64(after)/1e6)
	if after > before+before/10 {
		return errors.New("more than a tenth above")
	}
	return l.Close()
}

func TestMemoryIsWhatASessionTakes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // what is resident is read from /proc
	}
	for i, name := range shipped[:3:3] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := child(t, "memory", "WHICH="+strconv.Itoa([]int{0, 1, 2}[i])).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// measured compares what a session reports that it takes with what the process grew by.
func measured() error {
	l, err := ort.Open(os.Getenv(ort.LibraryVariable))
	if err != nil {
		return err
	}
	which, err := strconv.Atoi(os.Getenv("WHICH"))
	if err != nil {
		return err
	}
	inputs := samples(shipped[which])
	if which == 0 {
		inputs = zeros(1, 3, 480, 480)
	}
	path := filepath.Join(filepath.Dir(filepath.Dir(os.Getenv("MODEL"))), shipped[which])
	var sessions []*ort.Session
	add := func() error {
		s, err := l.Open(path, ort.Options{})
		if err != nil {
			return err
		}
		sessions = append(sessions, s)
		return errors.Join(runOnce(s, inputs), runOnce(s, inputs))
	}
	if err := add(); err != nil { // it brings the library's own code into memory
		return err
	}
	// Several, so that what one finds in the heap that another's creation has left
	// there counts for little.
	const several = 4
	before := resident()
	for range several {
		if err := add(); err != nil {
			return err
		}
	}
	grown, reported := resident()-before, int64(0)
	for _, s := range sessions[1:] {
		reported += s.Memory()
	}
	for _, s := range sessions {
		if err := s.Close(); err != nil {
			return err
		}
		if s.Memory() != 0 {
			return errors.New("a closed session takes memory")
		}
	}
	fmt.Fprintf(os.Stdout, "%d sessions: grown by %.1f MB, reported %.1f MB\n", several, float64(grown)/1e6, float64(reported)/1e6)
	// The pool counts what it has of the address space. How much of that is in
	// memory is the kernel's choice (huge pages), and other programs move it; a
	// budget needs that it is never much more than what was reported.
	if grown > reported+several<<22+reported/8 || reported > 2*grown {
		return errors.New("that is not what they took")
	}
	return l.Close()
}

func TestALargeRunIsForgotten(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), model(t, shipped[0]))
	run := func(times int, shape ...int64) int64 {
		t.Helper()
		for range times {
			if err := runOnce(s, zeros(shape...)); err != nil {
				t.Fatal(err)
			}
		}
		return s.Memory()
	}
	small := run(2, 1, 3, 64, 96)
	if left := run(1, 1, 3, 480, 480) - small; left > 8<<20 {
		t.Errorf("%d bytes are left of one large run", left)
	}
	if kept := run(4, 1, 3, 480, 480) - small; kept < 16<<20 {
		t.Errorf("large runs as a rule keep %d bytes: each pays for its memory", kept)
	}
	if left := run(128, 1, 3, 64, 96) - small; left > 8<<20 {
		t.Errorf("%d bytes are left of them after many small runs", left)
	}
}

func TestTrimGivesBackWhatRunsLeft(t *testing.T) {
	t.Parallel()
	s := load(t, open(t), model(t, shipped[0]))
	large := zeros(1, 3, 480, 480)
	loaded := s.PoolSize()
	if err := runOnce(s, large); err != nil {
		t.Fatal(err)
	}
	ran := s.PoolSize()
	s.Trim()
	if left := s.PoolSize() - loaded; ran-loaded < 16<<20 || left > 1<<20 {
		t.Errorf("a run left %d bytes, and %d after they were given back", ran-loaded, left)
	}
	var runs sync.WaitGroup
	for range 4 { // what is in use stays
		runs.Go(func() {
			for range 2 {
				if err := runOnce(s, large); err != nil {
					t.Error(err)
				}
				s.Trim()
			}
		})
	}
	runs.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.Trim()
}

// BenchmarkRunAfterTrim is what a run costs that finds no memory of earlier ones,
// against one that does.
func BenchmarkRunAfterTrim(b *testing.B) {
	s := load(b, open(b), model(b, shipped[0]))
	page := zeros(1, 3, 480, 480)
	for name, trim := range map[string]func(){"kept": func() {}, "trimmed": s.Trim} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				trim()
				if err := runOnce(s, page); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMemoryReported(b *testing.B) {
	l := open(b)
	path := filepath.Join(b.TempDir(), "model.ort")
	if err := l.Optimize(model(b, shipped[2]), path); err != nil {
		b.Fatal(err)
	}
	s := load(b, l, path)
	for b.Loop() {
		if s.Memory() == 0 {
			b.Fatal("it takes nothing")
		}
	}
}

// TestAPoolGivesBackWhatIsNotUsual holds that neither one large run, whose size a
// value asks for, nor runs of many sizes hold their memory for ever.
func TestAPoolGivesBackWhatIsNotUsual(t *testing.T) {
	t.Parallel()
	const most = 24 << 20 // bytes: of 4 MiB that a pool may keep, in several sizes
	byValue := &onnxtest.Model{Graph: onnxtest.Graph{
		Nodes: []onnxtest.Node{
			{Op: "Expand", Inputs: []string{"x", "s"}, Outputs: []string{"e"}},
			{Op: "ReduceSum", Inputs: []string{"e"}, Outputs: []string{"y"}},
		},
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.Float, Shape: []any{1}}, {Name: "s", Element: onnxtest.Int64, Shape: []any{1}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{1}}},
	}}
	expand := func(n uint64) []infer.Tensor {
		s := upTo(n)
		s.Name = "s"
		return []infer.Tensor{noughts("x", 1), s}
	}
	many := onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.Float, Shape: []any{"n"}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.Float, Shape: []any{"m"}}},
	}
	join := onnxtest.Node{Op: "Concat", Outputs: []string{"y"}, Attributes: []onnxtest.Attribute{{Name: "axis", Int: new(int64)}}}
	for i := range 64 {
		name := "e" + strconv.Itoa(i)
		many.Nodes = append(many.Nodes, onnxtest.Node{Op: "Exp", Inputs: []string{"x"}, Outputs: []string{name}})
		join.Inputs = append(join.Inputs, name)
	}
	many.Nodes = append(many.Nodes, join)
	for name, tc := range map[string]struct {
		model *onnxtest.Model
		runs  func(yield func([]infer.Tensor) bool)
		after []infer.Tensor
	}{
		"one large by its value": {byValue, func(yield func([]infer.Tensor) bool) {
			_ = yield(expand(3)) && yield(expand(64<<20))
		}, expand(3)},
		"many small ones of each size": {&onnxtest.Model{Graph: many}, func(yield func([]infer.Tensor) bool) {
			for n := int64(16); n < 128<<10; n += 1 + n/10 {
				if !yield([]infer.Tensor{noughts("x", n)}) {
					return
				}
			}
		}, []infer.Tensor{noughts("x", 16)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, open(t), tc.model.Write(t))
			for inputs := range tc.runs {
				if err := runOnce(s, inputs); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 {
				if err := runOnce(s, tc.after); err != nil {
					t.Fatal(err)
				}
			}
			if kept := s.PoolSize(); kept > most {
				t.Errorf("%d bytes are kept, want at most %d", kept, int64(most))
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	type runs struct {
		times, size int
		shrinks     int // how many of them shrink the arena
	}
	for name, tc := range map[string][]runs{
		"always the same":           {{1000, 100, 0}},
		"within four times":         {{10, 100, 0}, {500, 400, 0}, {500, 100, 0}},
		"one large":                 {{10, 100, 0}, {1, 401, 1}, {500, 100, 0}},
		"large from then on":        {{10, 100, 0}, {500, 1000, 3}},
		"large for a while":         {{10, 100, 0}, {10, 1000, 3}, {500, 100, 1}},
		"nothing, and nothing more": {{1000, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var u ort.Usage
			for _, r := range tc {
				shrinks := 0
				for range r.times {
					if u.Ran(r.size) {
						shrinks++
					}
				}
				if shrinks != r.shrinks {
					t.Errorf("%d runs of %d bytes shrank %d times, want %d", r.times, r.size, shrinks, r.shrinks)
				}
			}
		})
	}
}
