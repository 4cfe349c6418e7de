package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/modelserveai/modelserve/internal/regular"
)

// The bounds of what is fetched of an issuer.
const (
	fetchCooldown = 10 * time.Second // between the beginnings of two fetches
	fetchTimeout  = 5 * time.Second  // of one, discovery and keys together
	maxDocument   = 1 << 20          // bytes
	maxRedirects  = 3
	minFresh      = time.Minute
	maxFresh      = 15 * time.Minute
	fileFresh     = time.Second
)

// newClient makes the client that fetches. It follows redirects on the same host
// alone: an issuer's open redirect must not name its keys.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableKeepAlives:      true, // the next fetch is minutes away
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			from := via[0].URL
			if to.URL.Scheme != from.Scheme || to.URL.Host != from.Host || len(via) > maxRedirects {
				return errors.New("a redirect elsewhere, or too many")
			}
			return nil
		},
	}
}

// fetchURI fetches the keys at uri, or where OpenID discovery says they are.
func fetchURI(client *http.Client, issuer *Issuer) func(context.Context) (fetched, error) {
	return func(ctx context.Context) (fetched, error) {
		uri := issuer.JWKSURI
		if uri == "" {
			var err error
			if uri, err = discover(ctx, client, issuer); err != nil {
				return fetched{}, fmt.Errorf("discover %s: %w", issuer.Issuer, err)
			}
		}
		text, header, err := get(ctx, client, uri)
		if err != nil {
			return fetched{}, fmt.Errorf("fetch keys: %w", err)
		}
		set, err := parseKeys(text)
		if err != nil {
			return fetched{}, fmt.Errorf("read the keys of %s: %w", uri, err)
		}
		return fetched{set: set, fresh: freshFor(header)}, nil
	}
}

// discover is OpenID Connect Discovery 1.0, section 4: the document must name the
// issuer exactly.
func discover(ctx context.Context, client *http.Client, issuer *Issuer) (string, error) {
	text, _, err := get(ctx, client, issuer.Discovery())
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return "", errors.New("expected the JSON of an OpenID provider's metadata")
	}
	if document.Issuer != issuer.Issuer {
		return "", fmt.Errorf("its metadata is of another issuer, %q", document.Issuer)
	}
	uri, err := fetchable(document.JWKSURI)
	if err != nil {
		return "", fmt.Errorf("jwks_uri: %w", err)
	}
	if from, err := url.Parse(issuer.Issuer); err != nil || from.Scheme == "https" && uri.Scheme != "https" {
		return "", errors.New("jwks_uri: expected https, as the issuer's")
	}
	return document.JWKSURI, nil
}

func get(ctx context.Context, client *http.Client, uri string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", uri, err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "modelserve")
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it names method and URL
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("get %s: answered %s", uri, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err != nil {
		return nil, nil, fmt.Errorf("get %s: %w", uri, err)
	}
	if len(text) > maxDocument {
		return nil, nil, fmt.Errorf("get %s: answered more than %d bytes", uri, maxDocument)
	}
	return text, response.Header, nil
}

// freshFor is how long an answer may be used without asking again: as Cache-Control
// says (RFC 9111), within bounds.
func freshFor(header http.Header) time.Duration {
	fresh := maxFresh
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				fresh = time.Duration(seconds) * time.Second
			}
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}

// fetchFile reads the keys of a file, when it is another than at the last time.
func fetchFile(path string) func(context.Context) (fetched, error) {
	var last os.FileInfo
	var set *keySet
	return func(context.Context) (fetched, error) {
		info, err := os.Stat(path)
		if err != nil {
			return fetched{}, fmt.Errorf("read keys: %w", err)
		}
		if last != nil && os.SameFile(last, info) && last.Size() == info.Size() && last.ModTime().Equal(info.ModTime()) {
			return fetched{set: set, fresh: fileFresh}, nil
		}
		text, err := regular.Read(path, maxDocument)
		if err != nil {
			return fetched{}, fmt.Errorf("read keys: %w", err)
		}
		read, err := parseKeys(text)
		if err != nil {
			return fetched{}, fmt.Errorf("read the keys of %s: %w", path, err)
		}
		last, set = info, read
		return fetched{set: set, fresh: fileFresh}, nil
	}
}
