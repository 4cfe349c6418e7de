// Package cli is the command images: its flags, and making, pinning, pushing and
// checking as they ask. What an image is made of is package image's.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// recipes is the folder of the base images' recipes.
const recipes = "cmd/images/recipes"

// What images are made on, as -base names it.
const (
	debianBase     = "debian"
	distrolessBase = "gcr.io/distroless"
)

// options is what the command is asked for.
type options struct {
	architectures []string
	specs         []string // recipes' files
	gpu           bool
	push          string // a registry, or ""
	dir           string // of fetched things
	mirror        string
	base          string // debianBase, or where distroless' images are
	pin           bool
	check         []string // images
	out           io.Writer
}

// Main does what args ask for, until a signal ends it, and returns the exit status: 1
// where that failed, 2 where args are wrong.
func Main(args []string, out, complain io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(args, complain)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2 // parse has printed the error
	}
	o.out = out
	if err := do(ctx, o); err != nil {
		fmt.Fprintln(complain, "images:", err)
		return 1
	}
	return 0
}

func parse(args []string, complain io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(complain)
	architectures := flags.String("arch", runtime.GOARCH, "the architectures to make images for, such as amd64,arm64")
	specs := flags.String("spec", "", "recipes to make instead of the base images, as FILE,FILE")
	check := flags.String("check", "", "only check images in a registry, as IMAGE,IMAGE: their size, and that they have what their programs need")
	flags.BoolVar(&o.gpu, "gpu", false, "make base-ort-cuda too: 2.6 GB")
	flags.StringVar(&o.push, "push", "", "the registry to push to, such as localhost:5000 or registry.example.com/somebody")
	flags.BoolVar(&o.pin, "pin", false, "only pin what Debian has now, for amd64 and arm64")
	flags.StringVar(&o.mirror, "mirror", "", "where /debian and /debian-security are (where this machine's apt finds them)")
	flags.StringVar(&o.base, "base", "", "what images are made on: debian, its packages, or where distroless' images are ("+distrolessBase+" where -push names a registry that is not this machine's, else debian)")
	flags.StringVar(&o.dir, "dir", ".deps", "the folder of fetched things")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.architectures, o.specs, o.check = list(*architectures), list(*specs), list(*check)
	if err := o.validate(flags); err != nil {
		fmt.Fprintln(complain, "images:", err)
		return nil, err
	}
	if o.base == "" {
		o.base = distrolessBase
		if o.push == "" || strings.HasPrefix(o.push, "localhost:") || strings.HasPrefix(o.push, "127.") {
			o.base = debianBase
		}
	}
	if len(o.specs) == 0 {
		o.specs = []string{filepath.Join(recipes, "base-static.yaml"), filepath.Join(recipes, "base-ort.yaml")}
		if o.gpu || o.pin {
			o.specs = append(o.specs, filepath.Join(recipes, "base-ort-cuda.yaml"))
		}
	}
	return o, nil
}

func (o *options) validate(flags *flag.FlagSet) error {
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case len(o.architectures) == 0:
		return errors.New("-arch: expected at least one")
	case o.gpu && len(o.specs) > 0:
		return errors.New("-gpu goes with the base images, not with -spec")
	case o.gpu && strings.Join(o.architectures, "") != "amd64":
		return errors.New("-gpu: the libraries for CUDA are pinned for amd64 alone; use -arch amd64")
	case strings.Contains(o.push, "://"):
		return fmt.Errorf("-push: expected a registry without a scheme, got %s", o.push)
	}
	return nil
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func do(ctx context.Context, o *options) error {
	switch {
	case len(o.check) > 0:
		return checkImages(ctx, o)
	case o.pin:
		return pin(ctx, o)
	default:
		return makeImages(ctx, o)
	}
}
