// Package codec is the room of what a codec is written with: the packages below
// it are public, and so are runtime/function (a function's main), runtime/serve
// (the interface Codec), runtime/infer (tensors) and problem (errors). It has
// nothing of its own.
//
//   - payload reads JSON forms strictly, and the inputs they refer to,
//   - imaging decodes, resizes and normalizes images,
//   - audio reads WAV files and changes their rate,
//   - codectest runs a codec on its model in a test.
//
// # Versions
//
// These packages change with care, for they are compiled into functions that are
// not ours. Within a major version nothing exported goes away or changes its
// type, its units or the codes of its errors; texts of errors and what is not
// documented may change. What has to go is marked Deprecated, with what replaces
// it, for one minor version at least, and the changelog says so. Before version 1
// a minor version may break that, and the changelog says how to follow. All other
// packages of this module, those under internal/ apart, may be imported and come
// without that promise.
//
// What only the shipped functions share is under functions/internal. docs/functions.md
// shows how a function is written.
package codec
