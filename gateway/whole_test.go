package gateway_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/forward"
	"github.com/modelserveai/modelserve/internal/lifecycle"
)

// answers is how many answers TestAnswersArriveWhole asks for.
var answers = flag.Int("answers", 4000, "how many answers are asked for, of one byte to one MiB")

// child is a process of this test binary that runs one of its helpers, which
// ends with the test: its standard input ends then.
func child(t *testing.T, helper string) *bufio.Scanner {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+helper+"$")
	cmd.Env = append(os.Environ(), "GATEWAY_HELPER="+helper)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return bufio.NewScanner(out)
}

// helping reports whether this process is the helper, and ends it with its parent.
func helping(helper string) bool {
	if os.Getenv("GATEWAY_HELPER") != helper {
		return false
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return true
}

// TestFunctionHelper is not a test: it is a function that answers at once with
// as many bytes as it is asked for.
func TestFunctionHelper(t *testing.T) {
	if !helping("TestFunctionHelper") {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintln(os.Stdout, "listening", l.Addr())
	answer := bytes.Repeat([]byte("modelserve"), largest/10+1)
	_ = lifecycle.Serve(t.Context(), lifecycle.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		size, _ := strconv.Atoi(r.Header.Get("X-Size"))
		if size%2 == 0 { // else in chunks
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		_, _ = w.Write(answer[:size])
	}), lifecycle.DefaultLimits()), l, 0, nil)
}

// TestBusyHelper is not a test: it keeps a core busy.
func TestBusyHelper(*testing.T) {
	for n := 0; helping("TestBusyHelper"); {
		for n >= 0 {
			n = (n + 1) & math.MaxInt
		}
	}
}

const largest = 1 << 20 // bytes of an answer

// way is how answers are asked for.
type way struct {
	name   string
	client *http.Client
}

// TestAnswersArriveWhole holds that no answer of a quick function is cut on a
// machine that is kept busy. The function must be a process of its own: in one
// process Go's scheduler hides what goes wrong.
func TestAnswersArriveWhole(t *testing.T) {
	var address string
	for lines := child(t, "TestFunctionHelper"); address == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			address = rest
		}
	}
	w := newWorld(t, func(_ *gateway.Config, d *gateway.Deps) {
		d.Transport = toOne{forward.NewTransport(), address}
	})
	for range runtime.NumCPU() {
		child(t, "TestBusyHelper")
	}
	// More threads than cores: the system, not Go, decides which waits.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	ways := []way{
		{"kept connections", &http.Client{Transport: &http.Transport{}}},
		{"new connections", &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}},
		{"HTTP/2", &http.Client{Transport: h2c}},
	}
	cut, failed, sum := 0, 0, 0
	for i := range *answers {
		way := ways[i%len(ways)]
		size := int(math.Exp(rand.Float64() * math.Log(largest)))
		sum += size
		switch err := ask(t, way.client, w, size, i/len(ways)%8); {
		case errors.Is(err, io.ErrUnexpectedEOF):
			cut++
		case err != nil:
			failed++
			t.Errorf("%s, %d bytes: %v", way.name, size, err)
		}
	}
	t.Logf("%d answers, %d MiB of them: %d cut, %d failed", *answers, sum>>20, cut, failed)
	if cut > 0 {
		t.Errorf("%d of %d answers were cut", cut, *answers)
	}
}

// ask asks the function for size bytes, by one of three kinds of body.
// io.ErrUnexpectedEOF is an answer that was cut.
func ask(t *testing.T, client *http.Client, w *world, size, kind int) error {
	t.Helper()
	var body io.Reader = strings.NewReader(`{"inputs":[]}`)
	switch kind {
	case 6:
		body = io.MultiReader(body, bytes.NewReader(bytes.Repeat([]byte(" "), size))) // its length is not known
	case 7:
		body = bytes.NewReader(append([]byte(`{"inputs":[]}`), bytes.Repeat([]byte(" "), size)...))
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/v2/models/iris/infer", body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", w.admin)
	req.Header.Set("X-Size", strconv.Itoa(size))
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil && res.StatusCode == http.StatusOK:
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d: %s", res.StatusCode, got)
	case len(got) != size:
		return fmt.Errorf("%w: %d bytes, and a clean end", io.ErrUnexpectedEOF, len(got))
	}
	return nil
}
