//go:build !unix

package lifecycle

import (
	"errors"
	"net"
)

// Inherited is for systems whose processes inherit descriptors.
func Inherited(int) (net.Listener, error) {
	return nil, errors.New("no socket is inherited on this system")
}
