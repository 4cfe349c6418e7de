// Package redislimit keeps the counts of package limit in Redis, one or a cluster: one
// script decides on a call by all of its limits, on Redis' own time.
//
// It decides nothing that the scripts do not. Whatever it writes ends by itself.
package redislimit

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/modelserveai/modelserve/gateway/limit"
)

// longest bounds each part of a call of Redis; its context bounds the whole.
const longest = time.Second

// connections are enough for all that asks at once, and for what is sent and probed.
const connections = limit.MostAsked + 8

// redirects is how often a call that Redis did not run is sent elsewhere.
const redirects = 3

var (
	//go:embed shared.lua
	sharedText string
	//go:embed decide.lua
	decideText string
	//go:embed apply.lua
	applyText string
)

// Counters implements limit.Counters. It is safe for concurrent use.
type Counters struct {
	client        redis.UniversalClient
	prefix        string
	replica       string
	decide, apply *redis.Script
}

// Open makes Counters of the Redis at a URL:
// redis://[USER]:PASSWORD@HOST:PORT[/DB], rediss:// by TLS, with
// ?addr=HOST:PORT&addr=… for a Redis Cluster. Redis need not answer yet. Deployments
// that share a Redis have prefixes of their own; replica is a name that no other
// process has.
func Open(url, prefix, replica string) (*Counters, error) {
	client, err := Client(url)
	if err != nil {
		return nil, err
	}
	return newCounters(client, prefix, replica), nil
}

func newCounters(client redis.UniversalClient, prefix, replica string) *Counters {
	return &Counters{
		client: client, prefix: "{" + prefix + "}:", replica: replica,
		decide: redis.NewScript(sharedText + decideText), apply: redis.NewScript(sharedText + applyText),
	}
}

// Client makes a client of the Redis at a URL as Open has it, for what else is there.
func Client(url string) (redis.UniversalClient, error) {
	one, many, err := options(url)
	switch {
	case err != nil:
		return nil, err
	case many != nil:
		return redis.NewClusterClient(many), nil
	default:
		return redis.NewClient(one), nil
	}
}

// Quiet has Redis' client print nothing, in all of the process: what becomes of Redis a
// Limiter logs once, and the client each connection that it cannot have. It is for a
// main, before Open.
func Quiet() { logging.Disable() }

// options are those of a client that sends nothing twice: a script that ran before
// its answer was lost would charge twice.
func options(url string) (*redis.Options, *redis.ClusterOptions, error) {
	if err := Check(url); err != nil {
		return nil, nil, err
	}
	if isCluster(url) {
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, nil, errURL // theirs may have the password
		}
		o.MaxRetries, o.MaxRedirects, o.PoolSize = -1, -1, connections
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = longest, longest, longest, longest
		o.ContextTimeoutEnabled, o.DisableIdentity, o.DialerRetries = true, true, 1
		o.ClusterStateReloadInterval = time.Second // a primary that is dead redirects nobody
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return nil, o, nil
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, errURL
	}
	o.MaxRetries, o.PoolSize = -1, connections
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = longest, longest, longest, longest
	o.ContextTimeoutEnabled, o.DisableIdentity, o.DialerRetries = true, true, 1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil, nil
}

// Close closes the connections.
func (c *Counters) Close() error {
	if err := c.client.Close(); err != nil {
		return fmt.Errorf("close Redis: %w", err)
	}
	return nil
}

// Decide implements limit.Counters.
func (c *Counters) Decide(ctx context.Context, asks []limit.Ask) (*limit.Decision, error) {
	keys := make([]string, len(asks))
	args := make([]any, 1, 1+9*len(asks))
	args[0] = c.replica
	for i := range asks {
		a := &asks[i]
		keys[i] = c.prefix + a.Key
		switch a.Kind {
		case limit.Bucket:
			args = append(args, "bucket", exact(a.Rate/1e6), exact(a.Burst), exact(a.Take), a.Want, a.Lease, a.Back, known(a.Known), exact(a.Owed))
		case limit.Places:
			args = append(args, "place", a.Limit, a.Place, a.Lifetime.Microseconds(), strings.Join(a.Ended, " "), a.Held, "", "", "")
		case limit.Quota:
			seed, period, counts := "", "", ""
			if a.Report {
				counts = "1"
			}
			if a.Seed != nil {
				seed, period = strconv.FormatInt(a.Seed.Count, 10), a.Seed.Period
			}
			args = append(args, "quota", a.Quota, string(a.Period), exact(a.Take), seed, period, counts, "", "")
		}
	}
	got, err := c.run(ctx, c.decide, keys, args)
	if err != nil {
		return nil, fmt.Errorf("decide by Redis: %w", err)
	}
	texts, err := texts(got)
	if err != nil || len(texts) != 2+5*len(asks) {
		return nil, fmt.Errorf("decide by Redis: an answer of %d values, %w", len(texts), err)
	}
	d := &limit.Decision{Admitted: texts[0] == "1", Answers: make([]limit.Answer, len(asks))}
	if d.At, err = strconv.ParseInt(texts[1], 10, 64); err != nil {
		return nil, fmt.Errorf("decide by Redis: %w", err)
	}
	for i := range asks {
		if d.Answers[i], err = answer(asks[i].Kind, texts[2+5*i:7+5*i]); err != nil {
			return nil, fmt.Errorf("decide by Redis: %w", err)
		}
	}
	return d, nil
}

// answer reads what the script says of one limit.
func answer(kind limit.Kind, texts []string) (limit.Answer, error) {
	var numbers [3]float64
	for i := range numbers {
		n, err := strconv.ParseFloat(texts[1+i], 64)
		if err != nil {
			return limit.Answer{}, err //nolint:wrapcheck // the caller says whose it is
		}
		numbers[i] = n
	}
	a := limit.Answer{
		Admits: texts[0] == "1", Missing: texts[0] == "missing",
		Left: numbers[0], Retry: micros(numbers[1]), Reset: micros(numbers[2]),
	}
	switch kind {
	case limit.Bucket:
		n, err := strconv.ParseInt(texts[4], 10, 64)
		if err != nil {
			return limit.Answer{}, err //nolint:wrapcheck // as above
		}
		a.Leased = n
	case limit.Quota:
		a.Period = texts[4]
	case limit.Places:
	}
	return a, nil
}

// micros are microseconds as a duration; the longest there is, where they are more.
func micros(n float64) time.Duration {
	if n >= math.MaxInt64/1000 {
		return math.MaxInt64
	}
	return time.Duration(math.Ceil(n)) * time.Microsecond
}

// Apply implements limit.Counters.
func (c *Counters) Apply(ctx context.Context, changes []limit.Change) ([]limit.Known, error) {
	keys := make([]string, len(changes))
	args := make([]any, 0, 5*len(changes))
	for i := range changes {
		h := &changes[i]
		keys[i] = c.prefix + h.Key
		switch h.Kind {
		case limit.Charge:
			args = append(args, "charge", exact(h.Rate/1e6), exact(h.Burst), exact(h.Amount), known(h.Known))
		case limit.Count:
			args = append(args, "count", h.Period, exact(h.Amount), "", "")
		case limit.Raise:
			args = append(args, "raise", h.Period, exact(h.Amount), "", "")
		case limit.Hold:
			args = append(args, "hold", h.Place, h.Lifetime.Microseconds(), "", "")
		case limit.Free:
			args = append(args, "free", h.Place, "", "", "")
		}
	}
	got, err := c.run(ctx, c.apply, keys, args)
	if err != nil {
		return nil, fmt.Errorf("apply to Redis: %w", err)
	}
	texts, err := texts(got)
	if err != nil || len(texts) != 1+len(changes) {
		return nil, fmt.Errorf("apply to Redis: an answer of %d values, %w", len(texts), err)
	}
	at, err := strconv.ParseInt(texts[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("apply to Redis: %w", err)
	}
	charged := make([]limit.Known, len(changes))
	for i, left := range texts[1:] {
		if left == "" {
			continue
		}
		charged[i].At = at
		if charged[i].Left, err = strconv.ParseFloat(left, 64); err != nil {
			return nil, fmt.Errorf("apply to Redis: %w", err)
		}
	}
	return charged, nil
}

// run runs a script. What Redis says that it did not run is sent again: behind a
// redirection, or with the script's text.
func (c *Counters) run(ctx context.Context, script *redis.Script, keys []string, args []any) (any, error) {
	for n := 0; ; n++ {
		got, err := script.Run(ctx, c.client, keys, args...).Result()
		if err == nil || n == redirects || !notRun(err) {
			return got, err //nolint:wrapcheck // the callers say what they did
		}
		if cluster, ok := c.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
	}
}

// notRun reports whether an error is of a command that was refused before it ran, and
// may run elsewhere.
func notRun(err error) bool {
	for _, prefix := range []string{"MOVED", "ASK", "TRYAGAIN", "READONLY"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

// known is what a bucket had, as the scripts read it.
func known(k *limit.Known) string {
	if k == nil {
		return ""
	}
	return exact(k.Left) + " " + strconv.FormatInt(k.At, 10)
}

// exact is a number with a point in it: not every Lua reads 1e-08.
func exact(n float64) string { return strconv.FormatFloat(n, 'e', 17, 64) }

// texts are the values of an answer of texts.
func texts(got any) ([]string, error) {
	values, ok := got.([]any)
	if !ok {
		return nil, fmt.Errorf("an answer of %T", got)
	}
	out := make([]string, len(values))
	for i, v := range values {
		if out[i], ok = v.(string); !ok {
			return nil, fmt.Errorf("a value of %T", v)
		}
	}
	return out, nil
}
