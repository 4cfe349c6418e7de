// Pause holds a pod's namespaces open until it gets a signal to stop: the container
// that Kubernetes starts first in every pod.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
