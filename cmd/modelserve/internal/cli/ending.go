package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/problem"
)

// ending is when what is to be made ends, of bodies, with its flags.
type ending struct {
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	ExpiresIn string     `json:"expires_in,omitempty"`

	in time.Duration
	at string
}

func (e *ending) flags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&e.in, "expires-in", 0, "how long it lasts, such as 720h (for ever)")
	cmd.Flags().StringVar(&e.at, "expires-at", "", "when it ends, as an RFC 3339 `time`")
}

// set checks the flags.
func (e *ending) set(cmd *cobra.Command) error {
	within := cmd.Flags().Changed("expires-in")
	switch {
	case within && e.at != "":
		return usagef("--expires-in and --expires-at exclude each other")
	case within && e.in < time.Second:
		return usagef("--expires-in: expected a second or more, such as 720h, got %s; leave it out for what never ends", e.in)
	case within:
		e.ExpiresIn = e.in.String()
	case e.at != "":
		t, err := time.Parse(time.RFC3339, e.at)
		if err != nil {
			return usagef("--expires-at: expected a time such as 2030-01-31T00:00:00Z, got %q", e.at)
		}
		t = t.UTC()
		e.ExpiresAt = &t
	}
	return nil
}

// refused says what to do about an end that is too late for whoever makes what ends.
func (*ending) refused(err error) error {
	var p *problem.Error
	if !errors.As(err, &p) || !slices.ContainsFunc(p.Fields, func(f problem.Field) bool { return f.Field == "expires_at" }) {
		return err
	}
	return fmt.Errorf("%w; set --expires-in or --expires-at, or use a credential that goes on longer, such as a key (--key, MODELSERVE_KEY) in place of a login", err)
}

// timeOr is a time for people, or a word for none.
func timeOr(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.DateTime)
}

// commas is a list in a table's cell.
func commas(list []string) string { return firstOf(strings.Join(list, ","), "-") }
