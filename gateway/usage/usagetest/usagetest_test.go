package usagetest_test

import (
	"testing"

	"github.com/modelserveai/modelserve/gateway/storetest"
	"github.com/modelserveai/modelserve/gateway/usage"
	"github.com/modelserveai/modelserve/gateway/usage/usagetest"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(*testing.T) func(*testing.T) usage.Store {
		store := &usagetest.Store{}
		return func(*testing.T) usage.Store { return store }
	})
}
