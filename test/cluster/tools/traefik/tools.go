//go:build tools

// Package traefik pins the ingress, whose Knative provider routes to Knative's
// services.
package traefik

import _ "github.com/traefik/traefik/v3/cmd/traefik"
