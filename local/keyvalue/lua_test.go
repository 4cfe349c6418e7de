package keyvalue_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/test/redistest"
)

// scripts are what scripts of ours may rely on: of Redis, and here.
func scripts() map[string]string {
	return map[string]string{
		"numbers as texts": `local out = {}
			for _, n in ipairs({0, 1, -1, 0.1, 1/3, 1e15, 1e16 + 2, 123456789.123456789, 1e-7, 2^53, 1e300}) do
				out[#out + 1] = string.format('%.17g', n)
				out[#out + 1] = string.format('%.0f', n)
				if tonumber(string.format('%.17g', n)) ~= n then return redis.error_reply('ERR a number is lost') end
			end
			return out`,
		"dates":       `return {string.format('%04d-%02d-%02d', 2026, 3, 7), math.floor(-0.5), math.floor(7 / 2), 7 % 3, math.ceil(0.1)}`,
		"texts":       `local parts = {} for part in string.gmatch('a bb  c', '%S+') do parts[#parts + 1] = part end return {string.match('x 12 rest of it', '^(%S+) (%S+)(.*)$'), table.concat(parts, ','), #parts}`,
		"numbers cut": `return {1.9, -1.9, 3000000000}`,
		"nothing":     `return {redis.call('GET', KEYS[1]) == false, redis.call('PTTL', KEYS[1]), redis.call('ZSCORE', KEYS[1], 'a') == false}`,
		"strings": `redis.call('SET', KEYS[1], 'a', 'PX', 100000)
			redis.call('SET', KEYS[1], 'b', 'KEEPTTL')
			local kept = redis.call('PTTL', KEYS[1]) > 0
			redis.call('SET', KEYS[1], 'c')
			return {kept, redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1]), redis.call('DEL', KEYS[1])}`,
		"the longest lifetimes": `redis.call('SET', KEYS[1], 'a', 'PX', '1000000000000')
			redis.call('ZADD', KEYS[2], 1, 'a')
			redis.call('PEXPIRE', KEYS[2], '10000')
			return {redis.call('PTTL', KEYS[1]) > 999999990000, redis.call('PTTL', KEYS[2]) > 0}`,
		"numbers as arguments": `redis.call('SET', KEYS[1], 12345678901234) redis.call('SET', KEYS[2], 0.5)
			return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}`,
		"sorted sets": `local at = 1760000000000000
			local f = function(x) return string.format('%.0f', x) end
			for i = 1, 5 do redis.call('ZADD', KEYS[1], f(at + i), 'p' .. i) end
			return {redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '(' .. f(at + 2), '+inf'), redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', f(at + 2)),
				redis.call('ZREM', KEYS[1], 'p5'), redis.call('ZREM', KEYS[1], 'p5'), redis.call('ZCARD', KEYS[1]), f(tonumber(redis.call('ZSCORE', KEYS[1], 'p3'))),
				redis.call('ZADD', KEYS[1], f(at), 'p3')}`,
		"an error in the middle": `redis.call('SET', KEYS[1], 'written') return redis.call('ZADD', KEYS[1], 1, 'a')`,
		"an error that is taken": `redis.call('SET', KEYS[1], 'written')
			local failed = redis.pcall('ZADD', KEYS[1], 1, 'a')
			return {failed.err ~= nil, redis.call('GET', KEYS[1])}`,
		"no new globals": `x = 1 return x`,
	}
}

// TestScriptsRunAsInRedis holds that scripts have the answers here that they have of
// Redis.
func TestScriptsRunAsInRedis(t *testing.T) {
	t.Parallel()
	here, there := open(t, t.TempDir()).client(t), redistest.Start(t).Client()
	for name, text := range scripts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(client *redis.Client) (any, bool) {
				keys := []string{"{tag}:" + name + ":1", "{tag}:" + name + ":2"}
				got, err := redis.NewScript(text).Run(t.Context(), client, keys).Result() // EVALSHA, and EVAL where it is not known
				if errors.Is(err, redis.Nil) {
					err = nil
				}
				return got, err == nil
			}
			got, good := run(here)
			want, wantGood := run(there)
			if diff := cmp.Diff(want, got); diff != "" || good != wantGood {
				t.Errorf("here it is good: %v, of Redis: %v\n%s", good, wantGood, diff)
			}
		})
	}
}

// TestAScriptIsKnownByItsHash holds that one which is not known is not run, as go-redis
// and its callers have to see.
func TestAScriptIsKnownByItsHash(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]*redis.Client{"here": open(t, t.TempDir()).client(t), "Redis": redistest.Start(t).Client()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := redis.NewScript("return redis.call('INCR', KEYS[1])")
			if err := script.EvalSha(t.Context(), client, []string{"n"}).Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
				t.Errorf("not known: %v", err)
			}
			for want := range 3 {
				if got, err := script.Run(t.Context(), client, []string{"n"}).Int(); err != nil || got != want+1 {
					t.Errorf("%d, %v, want %d", got, err, want+1)
				}
			}
			must(t, client, "SCRIPT", "FLUSH")
			if err := script.EvalSha(t.Context(), client, []string{"n"}).Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
				t.Errorf("forgotten: %v", err)
			}
		})
	}
}

// TestTimeIsReal holds that a script's TIME is the clock's, between a look before and
// one after.
func TestTimeIsReal(t *testing.T) {
	t.Parallel()
	client := open(t, t.TempDir()).client(t)
	before := time.Now()
	got, err := client.Eval(t.Context(), "local t = redis.call('TIME') return {t[1], t[2]}", nil).StringSlice()
	after := time.Now()
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	seconds, errSeconds := strconv.ParseInt(got[0], 10, 64)
	micros, errMicros := strconv.ParseInt(got[1], 10, 64)
	if at := time.Unix(seconds, micros*1000); errSeconds != nil || errMicros != nil || at.Before(before.Truncate(time.Microsecond)) || at.After(after) {
		t.Errorf("TIME is %v, not of %v to %v", got, before, after)
	}
}

// TestScriptsAreAlone holds that no command comes between those of a script.
func TestScriptsAreAlone(t *testing.T) {
	t.Parallel()
	client := open(t, t.TempDir()).client(t)
	const each, callers = 50, 8
	failed := make(chan error, callers)
	for range callers {
		go func() {
			script := redis.NewScript("local n = tonumber(redis.call('GET', KEYS[1]) or '0') redis.call('SET', KEYS[1], n + 1) return n")
			var err error
			for range each {
				if err = script.Run(context.WithoutCancel(t.Context()), client, []string{"n"}).Err(); err != nil {
					break
				}
			}
			failed <- err
		}()
	}
	for range callers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if got := must(t, client, "GET", "n"); got != strconv.Itoa(each*callers) {
		t.Errorf("%v of %d counted", got, each*callers)
	}
	if !strings.HasPrefix(client.Options().Addr, "127.0.0.1:") {
		t.Errorf("it listens at %s", client.Options().Addr)
	}
}
