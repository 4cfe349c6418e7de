package screen

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"unicode"
)

// record makes a line that a function wrote fit for a person: slog's JSON
// becomes level, message and attributes; anything else stays as it is, without
// control characters.
func (s *Screen) record(line []byte) string {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber() // 119551836 shall not become 1.19551836e+08
	if len(line) == 0 || line[0] != '{' || decoder.Decode(&fields) != nil {
		return printable(string(line))
	}
	level, _ := fields[slog.LevelKey].(string)
	message, ok := fields[slog.MessageKey].(string)
	if !ok {
		return printable(string(line))
	}
	for _, known := range []string{slog.TimeKey, slog.LevelKey, slog.MessageKey, "service", "trace_id"} {
		delete(fields, known)
	}
	return s.compose(level, message, fields)
}

func (s *Screen) compose(level, message string, fields map[string]any) string {
	text := printable(message)
	switch level {
	case "WARN":
		text = s.paint(yellow, "warning: ") + text
	case "ERROR":
		text = s.paint(red, "error: ") + text
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := printable(fmt.Sprint(fields[name]))
		if strings.ContainsAny(value, " \"") {
			value = fmt.Sprintf("%q", value)
		}
		text += " " + s.paint(dim, printable(name)+"=") + value
	}
	return text
}

// printable drops what would move the cursor or change the terminal: a
// function's log may hold what its caller sent.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, text)
}

// Handler is a slog.Handler that prints records as lines behind name.
func (s *Screen) Handler(name string) slog.Handler { return handler{screen: s, name: name} }

type handler struct {
	screen *Screen
	name   string
	attrs  []slog.Attr
}

func (h handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]any{}
	for _, a := range h.attrs {
		fields[a.Key] = a.Value.Any()
	}
	r.Attrs(func(a slog.Attr) bool {
		fields[a.Key] = a.Value.Any()
		return true
	})
	text := h.screen.compose(r.Level.String(), r.Message, fields)
	h.screen.mu.Lock()
	defer h.screen.mu.Unlock()
	h.screen.line(h.name, text)
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

func (h handler) WithGroup(string) slog.Handler { return h }
