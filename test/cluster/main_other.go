//go:build !linux

// Cluster needs Linux: it runs Kubernetes' node on this machine.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: this needs Linux, for Kubernetes' node runs on this machine itself.\n"+
		"Elsewhere run it in a Linux machine, or use a cluster that is there: KUBECONFIG=… make deploy")
	os.Exit(1)
}
