package instance

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// isOurs is nil when this user's programs, and no others, listen on a port. Where
// that is not known, they are taken to.
func isOurs(port int) error {
	var owners []int
	known := false
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // without IPv6 there is no table of it
		}
		more, err := listeners(f, port)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("read who listens: %w", err)
		}
		owners, known = append(owners, more...), true
	}
	if !known {
		return nil
	}
	return judge(owners, os.Geteuid(), port)
}

// judge is nil when all that listen are one user's, and there are any.
func judge(owners []int, user, port int) error {
	if len(owners) == 0 {
		return errNotYet
	}
	for _, owner := range owners {
		if owner != user {
			return fmt.Errorf("a program of another user (uid %d) listens on its port %d", owner, port)
		}
	}
	return nil
}

// listeners are the users whose sockets listen on a port, by one of the kernel's
// tables (proc_pid_net(5)).
func listeners(table *os.File, port int) (owners []int, err error) {
	const local, state, uid, listening = 1, 3, 7, "0A"
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) <= uid || fields[state] != listening || !strings.HasSuffix(fields[local], suffix) {
			continue
		}
		owner, err := strconv.Atoi(fields[uid])
		if err != nil {
			return nil, fmt.Errorf("expected a user's number, got %q", fields[uid])
		}
		owners = append(owners, owner)
	}
	return owners, lines.Err()
}
