package local

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listening finds the process that listens on a TCP address, of those this user
// may look into; 0 when it cannot be told.
func listening(address string) (pid int, command string) {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, ""
	}
	inodes := listenInodes("/proc/net/tcp", addr)
	inodes = append(inodes, listenInodes("/proc/net/tcp6", addr)...)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is valid
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil {
			continue
		}
		inode, ok := strings.CutPrefix(to, "socket:[")
		if !ok || !slices.Contains(inodes, strings.TrimSuffix(inode, "]")) {
			continue
		}
		folder := filepath.Dir(filepath.Dir(link))
		if pid, err = strconv.Atoi(filepath.Base(folder)); err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		return pid, strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return 0, ""
}

// listenInodes reads /proc/net/tcp{,6} (proc(5)) for sockets in state LISTEN on
// the address or on all addresses.
func listenInodes(path string, addr *net.TCPAddr) []string {
	const stateListen = "0A"
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var inodes []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != stateListen {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		if port == fmt.Sprintf("%04X", addr.Port) && (strings.Trim(host, "0") == "" || sameHost(host, addr.IP)) {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// sameHost compares with an address as the kernel prints it: 32-bit words in
// the machine's byte order, which is little-endian wherever this runs.
func sameHost(text string, ip net.IP) bool {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return false
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	return net.IP(raw).Equal(ip)
}
