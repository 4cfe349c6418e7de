// Pipelines is the pipelines service as a process of its own: package standalone.
package main

import "github.com/modelserveai/modelserve/pipelines/standalone"

func main() { standalone.Main() }
