// Package freeport finds a port for a process that is about to be started.
//
// Nothing holds the port until that process listens. It is taken from below those that
// the kernel gives to connections, so that no connection has it by then.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
)

// Lowest is above the ports that servers are known by.
const Lowest = 10_000

// Find finds a port of 127.0.0.1 that nobody listens on.
func Find(ctx context.Context) (int, error) {
	port := 0
	if first := FirstGiven(); first > 2*Lowest {
		port = Lowest + rand.IntN(first-Lowest) //nolint:gosec // no secret
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address(port))
	if err != nil && port != 0 { // somebody has it
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address(0))
	}
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	found, ok := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil || !ok {
		return 0, fmt.Errorf("find a free port: close %v: %w", listener.Addr(), err)
	}
	return found.Port, nil
}

// Address is 127.0.0.1 with a port as Find has it.
func Address(ctx context.Context) (string, error) {
	port, err := Find(ctx)
	if err != nil {
		return "", err
	}
	return address(port), nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// FirstGiven is the first of the ports that the kernel gives to connections; 0 where
// that is not known (ip(7), ip_local_port_range).
func FirstGiven() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	n, err := strconv.Atoi(first)
	if err != nil || n > 65535 {
		return 0
	}
	return n
}
