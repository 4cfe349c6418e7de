package redislimit_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/modelserveai/modelserve/gateway/limit/redislimit"
)

// urls are texts by whether they are a Redis' URL.
func urls() map[string]map[string]bool {
	return map[string]map[string]bool{
		"one server": {
			"redis://:hush@redis:6379":                      true,
			"redis://default:hush@10.0.0.1:6379/0":          true,
			"redis://default:hush@[::1]:6379/15":            true,
			"redis://default:p%40ss%2Fw%3Ard%3F@redis:6379": true,
			"redis://redis:6379/":                           true,
			"rediss://gateway:hush@redis.example.com:6380":  true,
		},
		"a cluster": {
			"redis://:hush@a:6379?addr=b:6379&addr=c:6379": true,
			"rediss://:hush@a:6379/?addr=b:6379":           true,
			"redis://:hush@a:6379/1?addr=b:6379":           false,
			"redis://:hush@a:6379?addr=b":                  false,
			"redis://:hush@a:6379?addr=:6379":              false,
			"redis://:hush@a:6379?addr=":                   false,
		},
		"none": {
			"hush":                                   false,
			"redis:6379":                             false,
			"redis://":                               false,
			"redis://:hush@":                         false,
			"redis://:hush@:6379":                    false,
			"redis://:hush@redis":                    false,
			"redis://:hush@redis:0":                  false,
			"redis://:hush@redis:70000":              false,
			"redis://:hush@redis:6379/db":            false,
			"redis://:hush@redis:6379/-1":            false,
			"redis://:hush@redis:6379/0/1":           false,
			"redis://:hu#sh@redis:6379":              false,
			"redis://:hu/sh@redis:6379":              false,
			"redis://:hush@redis:6379?db=1":          false,
			"redis://:hush@redis:6379?addr=a:1;b":    false,
			"redis+sentinel://:hush@redis:26379/one": false,
			"unix:///run/redis.sock":                 false,
			"postgres://:hush@redis:6379":            false,
			"redis://:hush@redis:6379\n":             false,
		},
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for kind, texts := range urls() {
		for text, good := range texts {
			t.Run(kind+" "+text, func(t *testing.T) {
				t.Parallel()
				if err := redislimit.Check(text); (err == nil) != good {
					t.Errorf("%v, want good: %v", err, good)
				}
			})
		}
	}
}

// FuzzCheck holds that what is taken is what go-redis takes, as one server or as a
// cluster, and that nothing of what is refused is repeated.
func FuzzCheck(f *testing.F) {
	for _, texts := range urls() {
		for text := range texts {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := redislimit.Check(text); err != nil {
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("%q is repeated: %v", text, err)
			}
			return
		}
		cluster, err := redis.ParseClusterURL(text)
		if err != nil {
			if _, err = redis.ParseURL(text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if len(cluster.Addrs) == 1 {
			if _, err := redis.ParseURL(text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
