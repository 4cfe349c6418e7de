package model

import (
	"errors"
	"fmt"
)

// maxFaults bounds how many faults of one document are reported.
const maxFaults = 20

// Checker collects the rules that a document breaks. The zero value has none.
type Checker struct{ faults []error }

// Require records a fault of a field unless ok; of more than a few the first stay.
func (c *Checker) Require(ok bool, field, format string, args ...any) {
	if !ok && len(c.faults) < maxFaults {
		c.faults = append(c.faults, fmt.Errorf(field+": "+format, args...))
	}
}

// Err is every fault; nil where there is none.
func (c *Checker) Err() error { return errors.Join(c.faults...) }
