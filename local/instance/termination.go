package instance

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// termination is the path of what Kubernetes calls the termination message: what
// a process reports of its end, and our runtime of what it waits for.
type termination string

// maxTermination bounds what is read of it, as in Kubernetes, in bytes.
const maxTermination = 4096

// newTermination makes that of the one instance that has the port, empty.
func newTermination(dir string, port int) (termination, error) {
	path, err := filepath.Abs(filepath.Join(dir, strconv.Itoa(port)))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("make the termination log: %w", err)
	}
	return termination(path), nil
}

// read is its text, "" when there is none yet.
func (t termination) read() string {
	file, err := os.Open(string(t))
	if err != nil {
		return ""
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, maxTermination))
	return strings.TrimSpace(string(text))
}

func (t termination) remove() { _ = os.Remove(string(t)) } // the port's next instance empties it
