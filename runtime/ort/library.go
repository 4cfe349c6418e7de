// Package ort runs ONNX models: sessions of ONNX Runtime over tensors as they
// come from the wire, with cancellation, and what a publisher must know of a
// model before it is served (its signature, its external files, an optimised
// copy).
//
// It is the platform's only cgo. It binds ONNX Runtime's C API itself, because
// the signature of a V2 call is more than the Go bindings offer: scalars,
// tensors without elements, FP16 and BF16 outputs whose shape is not known
// before, strings with NUL bytes, inputs left to their default, and an answer
// without a copy.
//
// It is not a pool: it keeps no model that its caller does not hold, and it
// neither queues nor bounds how many runs are in flight.
package ort

/*
#cgo CFLAGS: -I${SRCDIR}/include -O2
#cgo linux LDFLAGS: -ldl
#include "bridge.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/modelserveai/modelserve/internal/locale"
)

// ErrClosed is returned by what is used after its Close.
var ErrClosed = errors.New("ort: closed")

// Error is a failure that ONNX Runtime reports.
type Error struct {
	Code    ErrorCode
	Message string
}

// ErrorCode is ONNX Runtime's own code (onnxruntime_error_code.h).
type ErrorCode int

// CodeInvalidArgument is the one code that callers act on: the tensors do not
// fit the model.
const CodeInvalidArgument ErrorCode = C.ORT_INVALID_ARGUMENT

// maxMessage bounds ONNX Runtime's messages, some of which hold a whole node.
const maxMessage = 1000

// Error is ONNX Runtime's message.
func (e *Error) Error() string { return e.Message }

// has reports whether the message has one of these in it.
func (e *Error) has(texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(e.Message, text) })
}

// Library is the ONNX Runtime of this process. It is safe for concurrent use.
// Open one and hand it to what needs it; a second Open of the same file shares
// the first's environment, as ONNX Runtime itself does.
type Library struct {
	api       *C.OrtApi
	env       *C.OrtEnv
	memory    *C.OrtMemoryInfo
	allocator *C.OrtAllocator // of the process: never released
	path      string
	version   string
	locale    error // why text models may run in another locale than on servers
	buffers   buffers
	pools     *C.ms_pools // of its sessions
	live      liveCounts
	cuda      func() cudaState // looked for once

	mu     sync.RWMutex // held shared by what uses the environment
	closed bool
}

// Live counts the native objects that are allocated now.
type Live struct {
	Sessions, Options, Values, Runs, Mappings int64
}

type liveCounts struct {
	sessions, options, values, runs, mappings atomic.Int64
}

// Open loads the library at path and starts its environment, with ONNX
// Runtime's telemetry off: the official Linux builds upload usage data unless
// ORT_DISABLE_TELEMETRY is set in the environment before they start, and their
// API call to disable it does not stop it. Open sets that variable, for this
// process and its children. It gives text models the locale that all servers
// have, too; where it cannot, Locale returns why.
func Open(path string) (*Library, error) {
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, fmt.Errorf("turn ONNX Runtime's telemetry off: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open ONNX Runtime: %w", err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("open ONNX Runtime: %w", err)
	}
	cpath := C.CString(abs)
	defer C.free(unsafe.Pointer(cpath))
	var message [512]C.char
	var version *C.char
	api := C.ms_open(cpath, &message[0], C.size_t(len(message)), &version)
	if api == nil {
		return nil, fmt.Errorf("open ONNX Runtime at %s: %s", abs, C.GoString(&message[0]))
	}
	pools := C.ms_pools_new()
	if pools == nil {
		return nil, errors.New("open ONNX Runtime: no memory")
	}
	l := &Library{pools: pools, api: api, path: abs, version: C.GoString(version), locale: takeLocale()}
	l.cuda = sync.OnceValue(func() cudaState { return findCUDA(abs) })
	if err := l.check(C.ms_env(api, &l.env)); err != nil {
		return nil, fmt.Errorf("start ONNX Runtime %s: %w", l.version, err)
	}
	if err := l.useMemory(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := l.check(C.ms_memory(api, &l.memory, &l.allocator)); err != nil {
		return nil, errors.Join(fmt.Errorf("start ONNX Runtime %s: %w", l.version, err), l.Close())
	}
	return l, nil
}

// Version is the library's own version, such as "1.31.1".
func (l *Library) Version() string { return l.version }

// Locale returns why text models may run in another locale here than on servers;
// nil when they do not.
func (l *Library) Locale() error { return l.locale }

// Path is the absolute path of the library.
func (l *Library) Path() string { return l.path }

// Live counts the native objects allocated now, for tests and metrics.
func (l *Library) Live() Live {
	return Live{
		Sessions: l.live.sessions.Load(),
		Options:  l.live.options.Load(),
		Values:   l.live.values.Load(),
		Runs:     l.live.runs.Load(),
		Mappings: l.live.mappings.Load(),
	}
}

// Close ends the environment; every session must have been closed before, and
// Close fails while one is open. The library's code stays mapped: its threads
// and destructors do not survive an unload. Closing twice is safe.
func (l *Library) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if n := l.live.sessions.Load(); n > 0 {
		return fmt.Errorf("close ONNX Runtime: %d sessions are open", n)
	}
	l.closed = true
	if l.memory != nil {
		C.ms_memory_free(l.api, l.memory)
	}
	if l.env != nil {
		C.ms_env_free(l.api, l.env)
	}
	l.memory, l.env = nil, nil
	return nil
}

// check turns a status into an error and frees it.
func (l *Library) check(s *C.OrtStatus) error {
	if s == nil {
		return nil
	}
	defer C.ms_status_free(l.api, s)
	message := rewriteMessage(C.GoString(C.ms_status_message(l.api, s)))
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return &Error{Code: ErrorCode(C.ms_status_code(l.api, s)), Message: message}
}

// noLocale is ONNX Runtime's message where a model names a locale that is not
// there. Installing one, as it asks for, would help on that machine alone.
const noLocale = "Please, install necessary language-pack-XX and configure locales"

// sources is where ONNX Runtime's official builds were made.
const sources = "/onnxruntime_src/"

// rewriteMessage is a message of ONNX Runtime without the paths of the machine that
// it was built on, and with advice that applies here in place of its own.
func rewriteMessage(message string) string {
	return strings.NewReplacer(
		sources+"onnxruntime/", "", sources, "",
		noLocale, "here and on every server there are "+strings.Join(locale.Names(), " and ")+" (besides C): export the model with one of them",
	).Replace(message)
}
