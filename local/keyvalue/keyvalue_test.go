package keyvalue_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/internal/logtest"
	"github.com/modelserveai/modelserve/local/keyvalue"
)

// opened is an open store, and its folder and log.
type opened struct {
	*keyvalue.Store

	dir string
	log *logtest.Log
}

func open(t *testing.T, dir string) opened {
	t.Helper()
	log := &logtest.Log{}
	s, err := keyvalue.Open(t.Context(), dir, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test that wants to know closes it itself
	return opened{s, dir, log}
}

func (o opened) client(t *testing.T) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (o opened) close(t *testing.T) {
	t.Helper()
	for range 2 { // twice is as once
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func (o opened) file() string { return filepath.Join(o.dir, "strings.json") }

// eventually asks until it holds, at most for a minute.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("after ten minutes not: %s", what)
		case <-time.After(5 * time.Millisecond): // the processor is whose it waits for
		}
	}
}

// must is the answer to a command.
func must(t *testing.T, client redis.UniversalClient, args ...any) any {
	t.Helper()
	got, err := client.Do(t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return got
}

func TestStringsAreKept(t *testing.T) {
	t.Parallel()
	binary := string([]byte{0, 0xff, '"', '\n', 0xc3})
	before := open(t, t.TempDir())
	client := before.client(t)
	must(t, client, "SET", "ever", "value")
	must(t, client, "SET", "hour", "value", "PX", 3_600_000)
	must(t, client, "SET", binary, binary)
	must(t, client, "SET", "gone", "value")
	must(t, client, "DEL", "gone")
	must(t, client, "ZADD", "places", 1, "a")
	before.close(t)
	if err := client.Get(t.Context(), "ever").Err(); err == nil {
		t.Error("it answers when it is closed")
	}

	after := open(t, before.dir)
	client = after.client(t)
	got := map[string]any{}
	for _, key := range []string{"ever", "hour", binary, "gone"} {
		got[key] = must(t, client, "GET", key)
	}
	if diff := cmp.Diff(map[string]any{"ever": "value", "hour": "value", binary: binary, "gone": nil}, got); diff != "" {
		t.Error(diff)
	}
	if left := must(t, client, "PTTL", "hour").(int64); left <= 0 || left > 3_600_000 {
		t.Errorf("what ends in an hour ends in %d ms", left)
	}
	if left := must(t, client, "PTTL", "ever").(int64); left != -1 {
		t.Errorf("what never ends ends in %d ms", left)
	}
	if before.URL == after.URL {
		t.Error("the password is the same")
	}
	if info, err := os.Stat(after.file()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
}

// TestAFileOfBeforeIsRead holds the form of the file, and that lifetimes run while no
// process does.
func TestAFileOfBeforeIsRead(t *testing.T) {
	t.Parallel()
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	dir := t.TempDir()
	file := fmt.Sprintf(`{"version":1,"strings":[{"key":%q,"value":%q},{"key":%q,"value":%q,"ends_ms":%d},{"key":%q,"value":%q,"ends_ms":%d}]}`,
		text("ever"), text("a"), text("ended"), text("b"), time.Now().Add(-time.Millisecond).UnixMilli(), text("hour"), text("c"), time.Now().Add(time.Hour).UnixMilli())
	if err := os.WriteFile(filepath.Join(dir, "strings.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	o := open(t, dir)
	client := o.client(t)
	if diff := cmp.Diff([]any{"a", nil, "c"}, must(t, client, "MGET", "ever", "ended", "hour")); diff != "" {
		t.Error(diff)
	}
	if left := must(t, client, "PTTL", "hour").(int64); left <= 0 || left > 3_600_000 {
		t.Errorf("what ends in an hour ends in %d ms", left)
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"cut":             `{"version":1,"strings":[{"key":"a2V5","val`,
		"empty":           "",
		"no JSON":         "\x00\x00\x00",
		"another version": `{"version":2,"strings":[]}`,
		"no base64":       `{"version":1,"strings":[{"key":"?","value":""}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "strings.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			o := open(t, dir)
			if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != text {
				t.Errorf("set aside: %q, %v", kept, err)
			}
			if !strings.Contains(o.log.String(), "damaged") {
				t.Errorf("log: %s", o.log)
			}
			client := o.client(t)
			must(t, client, "SET", "key", "value")
			o.close(t)
			if got := must(t, open(t, dir).client(t), "GET", "key"); got != "value" {
				t.Errorf("afterwards %q is kept", got)
			}
		})
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "strings.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := keyvalue.Open(t.Context(), dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("opened, and closed with %v", s.Close())
	}
}

// TestAKilledProcessHasWhatWasKept holds that what is written is in the file without a
// Close, by commands and by scripts.
func TestAKilledProcessHasWhatWasKept(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir())
	client := o.client(t)
	must(t, client, "SET", "first", "value")
	eventually(t, "the first is kept", func() bool { return kept(t, o, "first") })
	must(t, client, "EVAL", "return redis.call('SET', KEYS[1], 'value', 'PX', 100000)", 1, "second")
	eventually(t, "the second is kept", func() bool { return kept(t, o, "second") })
}

// kept reports whether the file, as a killed process leaves it, has a key.
func kept(t *testing.T, o opened, key string) bool {
	t.Helper()
	text, err := os.ReadFile(o.file())
	return err == nil && bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString([]byte(key))))
}

// TestOnlyWhatIsWrittenIsKeptAgain holds that asking writes no file.
func TestOnlyWhatIsWrittenIsKeptAgain(t *testing.T) {
	t.Parallel()
	o := open(t, t.TempDir())
	client := o.client(t)
	must(t, client, "SET", "key", "value")
	eventually(t, "it is kept", func() bool { return kept(t, o, "key") })
	if err := os.Remove(o.file()); err != nil {
		t.Fatal(err)
	}
	// One that is kept before it ends, however slow the machine is.
	for lifetime, held := 2500, false; !held; lifetime *= 2 {
		must(t, client, "SET", "lasts", "for two saves at least", "PX", lifetime)
		eventually(t, "it is kept, or has ended", func() bool {
			held = kept(t, o, "lasts")
			return held || must(t, client, "EXISTS", "lasts") == int64(0)
		})
	}
	if err := os.Remove(o.file()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool {
		must(t, client, "PING")
		must(t, client, "EVAL", "return {redis.call('TIME'), redis.call('GET', KEYS[1])}", 1, "key")
		return must(t, client, "GET", "lasts") == nil
	})
	if _, err := os.Stat(o.file()); err == nil {
		t.Error("asking wrote the file")
	}
}

func TestWhatCannotBeKeptIsLoggedOnce(t *testing.T) {
	t.Parallel()
	o := open(t, filepath.Join(t.TempDir(), "redis"))
	client := o.client(t)
	if err := os.RemoveAll(o.dir); err != nil {
		t.Fatal(err)
	}
	must(t, client, "SET", "key", "value")
	eventually(t, "it is logged", func() bool { return strings.Contains(o.log.String(), "not kept") })
	if got := must(t, client, "GET", "key"); got != "value" {
		t.Errorf("meanwhile it is %q", got)
	}
	if err := os.Mkdir(o.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is kept", func() bool { return kept(t, o, "key") })
	eventually(t, "it is logged", func() bool { return strings.Contains(o.log.String(), "kept again") })
	if n := strings.Count(o.log.String(), "not kept"); n != 1 {
		t.Errorf("it is logged %d times: %s", n, o.log)
	}
	if err := os.RemoveAll(o.dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.Close(); err == nil || !strings.Contains(err.Error(), "keep the local Redis") {
			t.Errorf("closed without a folder: %v", err)
		}
	}
}

func TestLifetimesRunByThemselves(t *testing.T) {
	t.Parallel()
	client := open(t, t.TempDir()).client(t)
	must(t, client, "SET", "string", "value", "PX", 300)
	must(t, client, "ZADD", "set", 1, "a")
	must(t, client, "PEXPIRE", "set", 300)
	must(t, client, "SET", "hour", "value", "PX", 3_600_000)
	must(t, client, "SET", "ever", "value")
	eventually(t, "both have ended", func() bool { return must(t, client, "EXISTS", "string", "set") == int64(0) })
	if n := must(t, client, "EXISTS", "hour", "ever"); n != int64(2) {
		t.Errorf("%v of the two that have not ended are there", n)
	}
}

// TestItIsBounded holds that nothing is added to a full store, which goes on
// answering and takes more when there is room.
func TestItIsBounded(t *testing.T) {
	t.Parallel()
	s, err := keyvalue.OpenBounded(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler), 10)
	if err != nil {
		t.Fatal(err)
	}
	o := opened{s, "", nil}
	defer o.close(t)
	client := o.client(t)
	added := 0
	set := func() error { return client.Set(t.Context(), fmt.Sprintf("key%d", added), "value", 0).Err() }
	eventually(t, "it is full", func() bool {
		err := set()
		if err == nil {
			added = (added + 1) % 1000
		}
		return redis.HasErrorPrefix(err, "OOM")
	})
	script := redis.NewScript("return redis.call('SET', KEYS[1], 'value')")
	if err := script.Run(t.Context(), client, []string{"other"}).Err(); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("a script adds: %v", err)
	}
	if got := must(t, client, "GET", "key0"); got != "value" {
		t.Errorf("the first key is %q", got)
	}
	must(t, client, "FLUSHALL")
	eventually(t, "it takes more", func() bool { return set() == nil })
}
