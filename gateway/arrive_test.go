package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/internal/env"
)

// unreadBody is a body that nobody may read.
type unreadBody struct{ t *testing.T }

func (b unreadBody) Read([]byte) (int, error) {
	b.t.Error("the body is read")
	return 0, io.EOF
}

// TestNoBodyIsReadOfWhoIsNotKnown holds that a request is answered, where its caller is
// not known, before anything of its body is read.
func TestNoBodyIsReadOfWhoIsNotKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		path, media string
		http2       bool
	}{
		"an inference":      {"/v2/models/iris/infer", "application/json", false},
		"one over HTTP/2":   {"/v2/models/iris/infer", "application/json", true},
		"a new key":         {"/v1/keys", "application/json", false},
		"a gRPC call":       {service + "ModelInfer", "application/grpc", true},
		"a stream of gRPC":  {service + "ModelStreamInfer", "application/grpc", true},
		"what is not there": {"/nothing", "application/json", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, key := range []string{"", "ms_aaaaaaaaaaaa_" + strings.Repeat("a", 52)} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tc.path, unreadBody{t})
				r.ContentLength = 1 << 20
				r.Header.Set("Content-Type", tc.media)
				if key != "" {
					r.Header.Set("X-Api-Key", key)
				}
				if tc.http2 {
					r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
				}
				answered := httptest.NewRecorder()
				w.handler.ServeHTTP(answered, r)
				if status := answered.Result().Trailer.Get("Grpc-Status"); answered.Code != http.StatusUnauthorized && status != "16" {
					t.Errorf("%d, gRPC status %q", answered.Code, status)
				}
			}
		})
	}
}

// endsWith is a body that has no more to come, which is not known before the channel is
// closed.
type endsWith struct{ end <-chan struct{} }

func (b endsWith) Read([]byte) (int, error) {
	<-b.end
	return 0, io.EOF
}

// TestWhatIsSentAheadIsItsTenants holds that a tenant whose bodies are still to come, and
// may be sent ahead of whoever reads them, is refused more of them, and that another is
// not.
func TestWhatIsSentAheadIsItsTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, env.MiB }) // room for eight, and one tenant's four
	held, leave := make(chan struct{}), make(chan struct{})
	w.serve("pool", func(_ http.ResponseWriter, r *http.Request) {
		held <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	w.echo("ocr")
	client := w.h2c()
	infer := func(key, model string, behind io.Reader) (int, error) {
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", 100<<10)), behind)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/v2/models/"+model+"/infer", body)
		if err != nil {
			return 0, err
		}
		r.Header.Set("X-Api-Key", key)
		res, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	many := w.keyOf("many", auth.InferAll)
	const fit = 4 // of 256 KiB, in a quarter of what one tenant may have
	answered := make(chan error, fit)
	for range fit {
		go func() {
			_, err := infer(many, "iris", endsWith{leave})
			answered <- err
		}()
	}
	for range fit {
		<-held
	}
	if status, err := infer(many, "text-recognize", http.NoBody); status != http.StatusTooManyRequests {
		t.Errorf("one more: %d, %v", status, err)
	}
	if status, err := infer(w.keyOf("few", auth.InferAll), "text-recognize", http.NoBody); status != http.StatusOK {
		t.Errorf("another tenant's: %d, %v", status, err)
	}
	close(leave)
	for range fit {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if status, err := infer(many, "text-recognize", http.NoBody); status != http.StatusOK {
		t.Errorf("when they were answered: %d, %v", status, err)
	}
}

// TestWhatHasArrivedLeavesRoom holds that calls whose bodies were read wait for their
// answers without what they took to arrive.
func TestWhatHasArrivedLeavesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxBody, c.MaxInflight = env.MiB, env.MiB })
	held, leave := make(chan struct{}), make(chan struct{})
	w.serve("pool", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		held <- struct{}{}
		<-leave
	})
	client := w.h2c()
	const calls = 10 // of which four could arrive at once
	answered := make(chan error, calls)
	for range calls {
		go func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/v2/models/iris/infer", strings.NewReader(strings.Repeat("x", 600<<10)))
			if err != nil {
				answered <- err
				return
			}
			r.Header.Set("X-Api-Key", w.admin)
			res, err := client.Do(r)
			if err == nil {
				err = res.Body.Close()
			}
			answered <- err
		}()
		<-held
	}
	close(leave)
	for range calls {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

// TestBoundsFollowFromTheMemory holds what is bounded in a container of little memory, and
// that one of the largest bodies fits there into half of each bound.
func TestBoundsFollowFromTheMemory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config                       gateway.Config
		inflight, kept, ofConnection env.Size
	}{
		"not known":  {gateway.Config{}, 512 * env.MiB, 128 * env.MiB, env.GiB},
		"much":       {gateway.Config{Memory: 64 << 30}, 512 * env.MiB, 128 * env.MiB, env.GiB},
		"1 GiB":      {gateway.Config{Memory: 1 << 30}, 256 * env.MiB, 66 * env.MiB, 256 * env.MiB},
		"256 MiB":    {gateway.Config{Memory: 256 << 20, MaxBody: env.MiB}, 64 * env.MiB, 16 * env.MiB, 64 * env.MiB},
		"as decided": {gateway.Config{Memory: 1 << 30, MaxInflight: 700 * env.MiB, MaxKept: env.MiB}, 700 * env.MiB, env.MiB, 256 * env.MiB},
	} {
		got := gateway.Defaults(tc.config)
		if limits := got.Limits(nil); got.MaxInflight != tc.inflight || got.MaxKept != tc.kept || limits.Crowd.Bytes != int64(tc.ofConnection) {
			t.Errorf("%s: %v in flight, %v kept, %v for connections", name, got.MaxInflight, got.MaxKept, env.Size(limits.Crowd.Bytes))
		}
	}
}
