// Command images makes the images that functions and the gateway are built on, and
// any other that a recipe describes (-spec): the pinned ONNX Runtime on an image of
// distroless, or where that cannot be had, on whole Debian packages that are
// pinned. Without -push they lie in .deps/images as OCI layouts.
package main

import (
	"os"

	"github.com/modelserveai/modelserve/cmd/images/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
