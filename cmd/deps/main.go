// Command deps fetches the ONNX Runtime library and the shipped models into
// .deps, once, each checked against its pinned sha256.
package main

import (
	"os"

	"github.com/modelserveai/modelserve/cmd/deps/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stderr)) }
