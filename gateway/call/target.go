package call

import (
	"net/url"

	"github.com/modelserveai/modelserve/runtime/model"
)

// Target is where a call goes, as it was resolved. It does not change.
type Target struct {
	URL      *url.URL
	Function string

	// Ref is the version of a model that the call is for; zero where a function is
	// called that has none, or several models.
	Ref   model.Ref
	Alias string // that decided on the version; "" when none did

	// Version is what the function is to be asked for; "" leaves the choice to it.
	Version string

	// Open is of the pool's choice: it may have an older version stand in.
	Open bool

	// Repeatable is a call that changes nothing, so that running it twice has no
	// effect.
	Repeatable bool

	// Plain is a function whose own errors may be text: those of a proxy before it
	// cannot be distinguished from them.
	Plain bool

	// Timed is a V2 request whose JSON may have a timeout.
	Timed bool
}
