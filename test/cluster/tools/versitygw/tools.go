//go:build tools

// Package versitygw pins the S3 server, over a folder.
package versitygw

import _ "github.com/versity/versitygw/cmd/versitygw"
