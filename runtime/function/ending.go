package function

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// Errors that keep every model from loading, and one that was fetched.
var (
	errStart   = errors.New("start ONNX Runtime")
	errSession = errors.New("create a session")
)

// sessionTries is how often a model whose files are good is given to ONNX
// Runtime before it counts as one that never loads: the node's copy of a file, or
// its memory, may have been at fault the first time.
const sessionTries = 3

// maxWait is how long the process waits for what is unavailable for now, such as
// S3. Knative reports of a container only why it ended, and reads that at a
// Service's progress deadline (120 s in config/), when the pod goes; until then
// Kubernetes starts it again.
const maxWait = time.Minute

// isPermanent reports whether a model that failed to load will never load in this
// process: it is not published, its files or its signature are wrong, it is
// larger than the memory, it does not run, or ONNX Runtime or the device that
// was asked for is not there. A process that would only wait ends, so that
// Knative reports the reason to whoever deployed it; so does one that has waited
// for maxWait.
func isPermanent(err error, tries int, waited time.Duration) bool {
	switch {
	case waited >= maxWait:
		return true
	case model.IsPermanent(err), errors.Is(err, pool.ErrTooLarge), errors.Is(err, errStart):
		return true
	case errors.Is(err, errSession), errors.Is(err, pool.ErrWarmUp):
		return tries >= sessionTries
	default:
		return false
	}
}

// maxTermination bounds what Kubernetes keeps of it, in bytes.
const maxTermination = 4096

// ending writes why a function ended, as the last line of its log and into the
// termination log, where Kubernetes reads it and Knative reports it of a Service
// that is not ready. It returns the exit status.
func ending(name string, err error, log io.Writer, termination string) int {
	if err == nil {
		return 0
	}
	status, text := 1, reasonOf(name, err)
	var fault *env.Fault
	if errors.As(err, &fault) {
		err = fmt.Errorf("the environment is wrong:\n%w", err)
		status, text = env.ExitCode, name+": "+err.Error() // each fault in its line
	}
	if err := terminated(termination, reasonOf(name, err)); err != nil {
		fmt.Fprintf(log, "%s: cannot write the termination log: %v\n", name, err)
	}
	fmt.Fprintln(log, text)
	return status
}

// reasonOf is an error in one line; "" without one.
func reasonOf(name string, err error) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(err.Error(), ":\n", ": ")
	return name + ": " + strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// terminated writes the reason into the termination log, if there is one.
func terminated(path, reason string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, strings.ToValidUTF8(reason[:min(len(reason), maxTermination)], ""))
	return errors.Join(err, file.Close())
}
