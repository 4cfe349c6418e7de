// Gateway is the gateway as a process of its own: package standalone.
package main

import "github.com/modelserveai/modelserve/gateway/standalone"

func main() { standalone.Main() }
