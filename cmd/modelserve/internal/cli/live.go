package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// redraw is how often lines on a terminal are drawn again.
const redraw = 100 * time.Millisecond

// terminalWidth is what lines on a terminal are cut at, since a longer one would wrap
// and could not be drawn over.
const terminalWidth = 100

// live is lines on a terminal that are drawn over until stop.
type live struct {
	to    io.Writer
	draw  func(now time.Time) []string
	done  chan struct{}
	ended sync.WaitGroup
	lines int // on the screen
}

// startLive draws at once, and again and again until stop, which whoever starts it calls.
func startLive(to io.Writer, draw func(now time.Time) []string) *live {
	l := &live{to: to, draw: draw, done: make(chan struct{})}
	l.ended.Go(func() {
		ticker := time.NewTicker(redraw)
		defer ticker.Stop()
		l.frame()
		for {
			select {
			case <-l.done:
				l.frame()
				return
			case <-ticker.C:
				l.frame()
			}
		}
	})
	return l
}

// stop draws once more, and leaves the lines there.
func (l *live) stop() {
	close(l.done)
	l.ended.Wait()
}

func (l *live) frame() {
	var b strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.lines)
	}
	lines := l.draw(time.Now())
	for _, line := range lines {
		b.WriteString("\r\x1b[K" + cut(line, terminalWidth) + "\n")
	}
	l.lines = len(lines)
	_, _ = io.WriteString(l.to, b.String())
}

// cut is text of at most so many characters.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
