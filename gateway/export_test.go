package gateway

import "net/http"

// Bound puts the gateway's limits on a request's body.
func Bound(config Config, w http.ResponseWriter, r *http.Request) error {
	g := &gateway{config: config.withDefaults()}
	_, err := g.bound(w, r)
	return err
}
