package publish

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// openMeasured loads the file that will be served, runs it with the example
// shapes, and tells by how much this process grew for it: at least by the file,
// whose pages may have been here before. fill is what its integers were.
func openMeasured(ctx context.Context, lib *ort.Library, path string, sig *infer.Signature) (_ *ort.Session, memory int64, fill byte, err error) {
	debug.FreeOSMemory() // what was freed before must not hide what is taken now
	before := resident()
	session, err := lib.Open(path, ort.Options{})
	if err != nil {
		return nil, 0, 0, err
	}
	for range 2 { // the first run of a shape learns it, and the next allocates for it
		var release func()
		if fill, _, release, err = runExample(ctx, session, sig); err != nil {
			return nil, 0, 0, errors.Join(err, session.Close())
		}
		release()
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, 0, errors.Join(err, session.Close())
	}
	return session, max(resident()-before, info.Size()), fill, nil
}

// resident is this process's resident memory in bytes; 0 where the system does
// not tell it as Linux does.
func resident() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
