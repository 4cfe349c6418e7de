package authtest_test

import (
	"testing"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/authtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	authtest.RunKeyStore(t, func(*testing.T) auth.KeyStore { return &authtest.Store{} })
}
