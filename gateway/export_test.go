package gateway

import "net/http"

// Bound puts the gateway's limits on a request's body.
func Bound(config Config, w http.ResponseWriter, r *http.Request) error {
	g := &gateway{config: config.withDefaults()}
	_, err := g.bound(w, r)
	return err
}

// BoundStream does so where the body is a stream's.
func BoundStream(config Config, w http.ResponseWriter, r *http.Request) error {
	g := &gateway{config: config.withDefaults()}
	b, err := g.bound(w, r)
	if err == nil {
		b.stream = true
	}
	return err
}

// Defaults is a Config with what follows from it.
func Defaults(c Config) Config { return c.withDefaults() }
