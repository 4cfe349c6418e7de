//go:build unix

package function

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAFunctionListensOnTheSocketThatItIsHanded holds that it answers there, and
// not at PORT.
func TestAFunctionListensOnTheSocketThatItIsHanded(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to a %T", name)
	}
	environment := storage(t)
	publish(t, environment)
	environment["MODELSERVE_LISTEN_FD"] = strconv.Itoa(fd)
	p := begin(t, Spec{Name: "double"}, environment)
	atPort := p.url
	p.url = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(address.Port))
	p.waitReady()
	status, body, err := p.ask(http.MethodPost, "/v2/models/double/infer", input)
	if err != nil || status != http.StatusOK || !strings.Contains(body, `"data":[2,4]`) {
		t.Errorf("%d %s, %v", status, body, err)
	}
	p.url = atPort
	if status, body, err := p.ask(http.MethodGet, "/readyz", ""); err == nil {
		t.Errorf("it listens at PORT too: %d %s", status, body)
	}
	p.stop()
	if err := <-p.done; err != nil {
		t.Errorf("stop: %v", err)
	}
}
