package pipelines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/eventing/ticket"
	"github.com/modelserveai/modelserve/local/channel"
	"github.com/modelserveai/modelserve/pipelines/definition"
	"github.com/modelserveai/modelserve/pipelines/record"
	"github.com/modelserveai/modelserve/runtime/sign"
)

// oneFunction has the Service f, and the model m of the pool.
type oneFunction struct{}

func (oneFunction) Service(_ context.Context, name string) (string, bool, error) {
	switch name {
	case "f":
		return "f", false, nil
	case "m":
		return "pool", true, nil
	default:
		return "", false, definition.ErrNoFunction
	}
}

// texts are versions, by number.
type texts map[int]string

func (v texts) Version(_ context.Context, id record.VersionID) (*record.Version, error) {
	text, ok := v[id.Number]
	if !ok {
		return nil, record.ErrNotFound
	}
	d, err := definition.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return &record.Version{VersionID: id, Canonical: d.Canonical(), Digest: d.Digest()}, nil
}

// text is a pipeline whose first step calls a function.
func text(function string) string {
	return `{apiVersion: modelserve.dev/v1, kind: Pipeline, metadata: {name: p}, spec: {steps: [{name: a, function: ` + function +
		`}, {name: b, function: m, when: 'true'}, {name: c, uri: 'https://example.com/'}], output: 'null'}}`
}

func testChannels(t *testing.T, v texts) *channels {
	t.Helper()
	hub, err := channel.Open(t.Context(), channel.Config{
		Namespace: namespace, Service: serviceName, Functions: http.DefaultTransport, Sinks: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	key, err := sign.CreateKeys(dir+"/key", dir+"/pub")
	if err != nil {
		t.Fatal(err)
	}
	return newChannels(hub, v, oneFunction{}, ticket.NewSigner(key))
}

func TestChannelsAreMadeWhenTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	c := testChannels(t, texts{1: text("f"), 2: text("gone")})
	for segment := range 2 {
		url, host, err := c.First(t.Context(), "acme", "p", 1, segment, 0)
		if want := fmt.Sprintf("/p-v1-s%d-", segment); err != nil || host != "" || !strings.Contains(url, want) {
			t.Errorf("segment %d is at %q %q, %v", segment, url, host, err)
		}
	}
	if owners := c.hub.Owners(); len(owners) != 1 || owners[0] != "acme/p@1" {
		t.Errorf("there are channels of %q", owners)
	}
	for name, ask := range map[string][3]int{"a step that there is not": {1, 0, 1}, "a segment that there is not": {1, 9, 0}, "a URL": {1, 2, 0}, "a version that there is not": {7, 0, 0}} {
		if url, _, err := c.First(t.Context(), "acme", "p", ask[0], ask[1], ask[2]); err == nil {
			t.Errorf("%s has the channel %s", name, url)
		}
	}
	if _, _, err := c.First(t.Context(), "acme", "p", 2, 0, 0); !errors.Is(err, definition.ErrNoFunction) {
		t.Errorf("without its function: %v", err)
	}
}

func TestTheChannelsOfVersionsAreBounded(t *testing.T) {
	t.Parallel()
	v := texts{}
	for n := 1; n <= maxVersions+2; n++ {
		v[n] = text("f")
	}
	c := testChannels(t, v)
	for n := 1; n <= maxVersions+2; n++ {
		for _, number := range []int{n, 1} { // the first one is always in use
			if _, _, err := c.First(t.Context(), "acme", "p", number, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	owners := c.hub.Owners()
	if len(owners) != maxVersions {
		t.Errorf("%d versions have channels", len(owners))
	}
	for _, owner := range owners {
		if owner == "acme/p@2" || owner == "acme/p@3" {
			t.Errorf("%s was not used for long, and has channels", owner)
		}
	}
}
