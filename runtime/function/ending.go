package function

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/runtime/artifact"
	"github.com/modelserveai/modelserve/runtime/pool"
)

// What stands in the way of every model, and of one that was fetched.
var (
	errStart   = errors.New("start ONNX Runtime")
	errSession = errors.New("create a session")
)

// sessionTries is how often a model whose files are good is given to ONNX
// Runtime before it is given up: the node's copy of a file, or its memory, may
// have been at fault the first time.
const sessionTries = 3

// hopeless says whether a model that failed to load will never load in this
// process: it is not published, its files or its signature are wrong, it is
// larger than the memory, it does not run, or ONNX Runtime or the device that
// was asked for is not there. A process that would only wait ends, so that
// whoever deployed it is told.
func hopeless(err error, tries int) bool {
	switch {
	case artifact.Lasting(err), errors.Is(err, pool.ErrTooLarge), errors.Is(err, errStart):
		return true
	case errors.Is(err, errSession), errors.Is(err, pool.ErrWarmUp):
		return tries >= sessionTries
	default:
		return false
	}
}

// terminationLog is where Kubernetes reads why a container ended, by default;
// Knative tells it of a Service that is not ready. It is there in containers
// only.
const terminationLog = "/dev/termination-log"

// maxTermination bounds what Kubernetes keeps of it, in bytes.
const maxTermination = 4096

// ending tells why a function ended, as the last line of its log and in the
// termination log, and returns the exit status.
func ending(name string, err error, log io.Writer, termination string) int {
	if err == nil {
		return 0
	}
	status, reason := 1, name+": "+oneLine(err.Error())
	text := reason
	var fault *env.Fault
	if errors.As(err, &fault) {
		status, reason = env.ExitCode, name+": the environment is wrong: "+oneLine(err.Error())
		text = name + ": the environment is wrong:\n" + err.Error() // each fault in its line
	}
	if err := terminated(termination, reason); err != nil {
		fmt.Fprintf(log, "%s: the termination log takes nothing: %v\n", name, err)
	}
	fmt.Fprintln(log, text)
	return status
}

// oneLine puts what errors have in lines beside each other.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// terminated writes the reason where Kubernetes reads it, if it does.
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
