// Package shipped is the pipelines that come with the platform, read-document and triage,
// as definitions. They are everybody's, and nobody's to change: registering them is for
// whoever starts a platform.
package shipped

import (
	"embed"
	"fmt"
	"io/fs"

	"github.com/modelserveai/modelserve/pipelines/definition"
)

//go:embed *.yaml
var files embed.FS

// All are the definitions, by name.
func All() ([]*definition.Definition, error) {
	names, err := fs.Glob(files, "*.yaml") // in order
	if err != nil {
		return nil, fmt.Errorf("list the shipped pipelines: %w", err)
	}
	all := make([]*definition.Definition, 0, len(names))
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the shipped pipeline %s: %w", name, err)
		}
		d, err := definition.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("the shipped pipeline %s: %w", name, err)
		}
		all = append(all, d)
	}
	return all, nil
}
