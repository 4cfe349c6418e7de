// Package process runs the local platform's children so that none outlives it,
// whatever ends it, and each end comes with its reason.
//
// It decides nothing about when to start or stop one.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// lifelineFD is where a child finds the reading end of the lifeline, the first
// descriptor after stdin, stdout and stderr.
const lifelineFD = 3

// FirstFile is the descriptor by which a child finds the first of its Files.
const FirstFile = lifelineFD + 1

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("the platform is stopping")

// Spawner starts children. Two things tie them to this process. On Linux the
// kernel kills a child when the thread that started it ends, so one thread
// starts them all and lives as long as the process. Everywhere a child inherits
// the reading end of a pipe that ends when this process does, and stops by
// itself (lifecycle.ParentVariable).
type Spawner struct {
	starts   chan start
	stopped  chan struct{} // closed to end run
	ended    chan struct{} // closed when it has
	lifeline [2]*os.File   // read, write
	once     sync.Once
}

type start struct {
	cmd  *exec.Cmd
	done chan<- error
}

// NewSpawner makes a Spawner. Its Close must follow the end of every child.
func NewSpawner() (*Spawner, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the children's lifeline: %w", err)
	}
	s := &Spawner{starts: make(chan start), stopped: make(chan struct{}), ended: make(chan struct{}), lifeline: [2]*os.File{r, w}}
	go s.run()
	return s, nil
}

func (s *Spawner) run() {
	defer close(s.ended)
	runtime.LockOSThread() // never unlocked: with the thread its children would die
	for {
		select {
		case req := <-s.starts:
			req.done <- req.cmd.Start()
		case <-s.stopped:
			return
		}
	}
}

// Close ends the lifeline. Children that still run are killed.
func (s *Spawner) Close() error {
	var err error
	s.once.Do(func() {
		close(s.stopped)
		<-s.ended // nobody starts a child with the lifeline any more
		err = errors.Join(s.lifeline[1].Close(), s.lifeline[0].Close())
	})
	return err
}

// Command is a child to start.
type Command struct {
	Path string
	Args []string
	Env  []string // whole: nothing is inherited
	Dir  string

	// Files are inherited, from FirstFile on. The caller may close them once the
	// child is started.
	Files []*os.File

	Line func(line []byte) // gets each line of stdout and stderr, from one goroutine
}

// Start starts a child.
func (s *Spawner) Start(c Command) (*Process, error) {
	p := &Process{done: make(chan struct{}), output: &lines{each: c.Line}}
	p.cmd = &exec.Cmd{
		Path:        c.Path,
		Args:        append([]string{c.Path}, c.Args...),
		Env:         append(c.Env[:len(c.Env):len(c.Env)], lifecycle.ParentVariable+"="+strconv.Itoa(lifelineFD)),
		Dir:         c.Dir,
		Stdout:      p.output,
		Stderr:      p.output, // the same writer: one pipe, lines in their order
		ExtraFiles:  append([]*os.File{s.lifeline[0]}, c.Files...),
		SysProcAttr: attributes(),
		WaitDelay:   time.Second, // a grandchild may keep the pipe open
	}
	done := make(chan error, 1)
	select {
	case s.starts <- start{p.cmd, done}:
	case <-s.stopped:
		return nil, ErrClosed
	}
	if err := <-done; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	go p.wait()
	return p, nil
}
