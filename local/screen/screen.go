// Package screen is what the person at the terminal sees of the local platform:
// one table of functions at the start, a line when one of them changes, and
// everybody's logs behind their names. It never redraws what is above, so what
// it says can be read, searched and piped.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/local/activator"
)

// Function is one row of the table.
type Function struct {
	Name      string
	URL       string
	State     route.State
	Reason    string
	Revision  string
	Instances int
}

// View is what the first screen has besides the table.
type View struct {
	Functions []Function
	Server    string
	Key       string   // the API key
	Metrics   string   // the URL of the gateway's metrics
	Commands  []string // to paste, in pairs of a line of what it does and the command
}

// Screen writes to one output; its methods may be called at any time.
type Screen struct {
	out   io.Writer
	color bool

	mu    sync.Mutex
	last  map[string]Function
	width int // of the longest name
	up    bool
}

// New makes a Screen on out. Colours are used when out is a terminal and plain
// is false.
func New(out io.Writer, plain bool) *Screen {
	return &Screen{
		out: out, color: !plain && isTerminal(out),
		last: map[string]Function{}, width: len("platform"),
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The colours used: few, and never the only sign.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *Screen) paint(color, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func stateColor(state route.State) string {
	switch state {
	case route.StateReady:
		return green
	case route.StateFailed:
		return red
	case route.StateBuilding, route.StateStarting:
		return yellow
	default:
		return dim
	}
}

// Start prints the first screen.
func (s *Screen) Start(v View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = true
	var b strings.Builder
	s.table(&b, v.Functions)
	if v.Key != "" {
		fmt.Fprintf(&b, "\nThe API key is %s\n", s.paint(bold, v.Key))
	}
	for i := 0; i+1 < len(v.Commands); i += 2 {
		fmt.Fprintf(&b, "\n%s\n  %s\n", s.paint(dim, "# "+v.Commands[i]), v.Commands[i+1])
	}
	if v.Metrics != "" {
		fmt.Fprintf(&b, "\nMetrics are at %s; each function's own are on the next free ports, as its log reports.\n", v.Metrics)
	}
	fmt.Fprintf(&b, "\nModelServe is at %s. Ctrl-C stops it.\n\n", s.paint(bold, v.Server))
	s.write(b.String())
}

func (s *Screen) table(b *strings.Builder, functions []Function) {
	rows := [][]string{{"FUNCTION", "URL", "STATE", "REVISION", "INSTANCES"}}
	for _, f := range functions {
		rows = append(rows, []string{f.Name, f.URL, string(f.State), f.Revision, fmt.Sprint(f.Instances)})
		s.last[f.Name] = f
		s.width = max(s.width, len(f.Name))
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			padded := cell + strings.Repeat(" ", widths[i]-len(cell)+2)
			switch {
			case n == 0:
				padded = s.paint(dim, padded)
			case i == 2:
				padded = s.paint(stateColor(route.State(cell)), padded)
			}
			b.WriteString(padded)
		}
		b.WriteString("\n")
	}
}

// Update prints what has changed since the last call.
func (s *Screen) Update(functions []Function) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		return
	}
	seen := map[string]bool{}
	for _, f := range functions {
		seen[f.Name] = true
		old, known := s.last[f.Name]
		s.last[f.Name] = f
		s.width = max(s.width, len(f.Name))
		if known && old == f || f.State == route.StateStarting && f.Reason == old.Reason {
			continue // what starts is printed when it has started
		}
		text := s.paint(stateColor(f.State), string(f.State))
		if f.Instances > 1 {
			text += fmt.Sprintf(", %d instances", f.Instances)
		}
		if !known || old.Revision != f.Revision {
			text += ", revision " + f.Revision
		}
		if !known && f.URL != "" {
			text += ", " + f.URL
		}
		if f.Reason != "" {
			text += ": " + f.Reason
		}
		s.line(f.Name, text)
	}
	for name := range s.last {
		if !seen[name] {
			delete(s.last, name)
			s.line(name, "removed")
		}
	}
}

// Note prints a line of the platform's own.
func (s *Screen) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line("platform", fmt.Sprintf(format, args...))
}

// Problem prints what a person should correct.
func (s *Screen) Problem(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range strings.Lines(err.Error()) {
		s.line("platform", s.paint(red, strings.TrimRight(text, "\n")))
	}
}

// Line prints what a function wrote.
func (s *Screen) Line(name string, line []byte) {
	text := s.record(line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(name, text)
}

// Writer is where something with a logger of its own, in slog's JSON, prints
// lines behind name.
func (s *Screen) Writer(name string) io.Writer { return writer{s, name} }

type writer struct {
	screen *Screen
	name   string
}

// Write takes one record.
func (w writer) Write(p []byte) (int, error) {
	w.screen.Line(w.name, []byte(strings.TrimRight(string(p), "\n")))
	return len(p), nil
}

// Cold prints the parts of a cold start.
func (s *Screen) Cold(c activator.Cold) {
	parts := make([]string, len(c.Parts))
	for i, p := range c.Parts {
		parts[i] = fmt.Sprintf("%s %s", p.Name, milliseconds(p.Duration))
	}
	what := "first answer of another instance"
	if c.FromZero {
		what = "first answer from zero"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(c.Service, fmt.Sprintf("%s in %s ms: %s", what, milliseconds(c.Total), strings.Join(parts, ", ")))
}

func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

// Stop ends the output of a run.
func (s *Screen) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up {
		s.write("ModelServe has stopped.\n")
	}
	s.up = false
}

// line prints one line behind a name. Called with mu held.
func (s *Screen) line(name, text string) {
	s.write(s.paint(dim, fmt.Sprintf("%-*s │", s.width, name)) + " " + text + "\n")
}

func (s *Screen) write(text string) {
	_, _ = io.WriteString(s.out, text) // a terminal that is gone is no reason to stop
}
