package redislimit

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// errURL is all that is said of a URL that is not taken: the URL has a password.
var errURL = errors.New("expected redis://[USER]:PASSWORD@HOST:PORT[/DB], or rediss:// for TLS, and of a Redis Cluster " +
	"?addr=HOST:PORT&addr=… with its other servers and no DB; what is special in a URL is percent-encoded in a password")

// Check reports whether a text has the form of a Redis' URL, as Open takes it.
func Check(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Opaque != "" || u.Fragment != "" || !isAddress(u.Host) {
		return errURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errURL
	}
	others := query["addr"]
	delete(query, "addr")
	for _, other := range others {
		if !isAddress(other) {
			return errURL
		}
	}
	db := strings.TrimPrefix(u.Path, "/")
	if _, err := strconv.ParseUint(db, 10, 16); db != "" && (err != nil || len(others) > 0) || len(query) > 0 {
		return errURL
	}
	return nil
}

// isCluster reports whether a URL that was checked names other servers of a cluster.
func isCluster(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Query().Has("addr")
}

// isAddress reports whether a text is HOST:PORT.
func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
