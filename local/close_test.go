package local

import (
	"strings"
	"testing"
	"testing/synctest"
)

// TestCloseGivesUpWhatDoesNotEnd: a disk that does not answer must not keep the
// platform from ending.
func TestCloseGivesUpWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p platform
		answer := make(chan struct{})
		p.wg.Go(func() { <-answer })
		if err := p.close(); err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("close: %v", err)
		}
		close(answer)
	})
}
