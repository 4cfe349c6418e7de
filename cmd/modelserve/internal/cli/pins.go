package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/modelserveai/modelserve/local"
	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/runtime/model"
)

// localOverlay is what a platform runs whose file names no overlay.
const localOverlay = "config/overlays/local"

// pins are sentences on who would be left without its model when these versions
// are deleted: the manifests of the platform here, and the functions of the one
// that is asked, which may be in a cluster.
func (a *app) pins(ctx context.Context, refs []model.Ref) []string {
	var notes []string
	reported := map[string]bool{}
	set, err := a.manifests(ctx)
	if err != nil {
		notes = append(notes, fmt.Sprintf("the manifests here cannot all be read, so what they name is not known: %v", err))
	}
	old, err := a.oldRevisions(set)
	if err != nil {
		notes = append(notes, fmt.Sprintf("what older revisions here serve is not known: %v", err))
	}
	for i := range set.Services {
		s := &set.Services[i]
		for _, ref := range refs {
			of := func(r local.RevisionModels) bool {
				return r.Service == s.Name && slices.Contains(r.Models, ref.String())
			}
			if slices.Contains(s.Models(), ref.String()) {
				reported[s.Name] = true
				notes = append(notes, fmt.Sprintf("the service %s in %s serves %s; name another version there, or remove it", s.Name, s.File, ref))
			} else if at := slices.IndexFunc(old, of); at >= 0 {
				reported[s.Name] = true
				notes = append(notes, fmt.Sprintf("the revision %s, to which the traffic of %s in %s goes, serves %s; take it out of the traffic first", old[at].Revision, s.Name, s.File, ref))
			}
		}
	}
	addr, err := a.address()
	if err != nil {
		return notes
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	functions, err := a.clientOf(addr).functions(ctx)
	if err != nil {
		return notes // no platform answers
	}
	for _, f := range functions {
		for _, ref := range refs {
			if !reported[f.Name] && slices.Contains(f.serving(), ref.String()) {
				notes = append(notes, fmt.Sprintf("the service %s at %s serves %s; deploy another version, or remove it", f.Name, firstOf(f.URL, addr.server), ref))
			}
		}
	}
	return notes
}

// oldRevisions are those that the traffic of the services names, and what they
// serve.
func (a *app) oldRevisions(set manifest.Set) ([]local.RevisionModels, error) {
	p, err := a.findPlatform()
	if err != nil || p.dir == "" {
		return nil, err
	}
	return local.NamedRevisions(p.dir, set) //nolint:wrapcheck // it names the file
}

// manifests reads what the platform here runs, or would.
func (a *app) manifests(ctx context.Context) (manifest.Set, error) {
	p, err := a.findPlatform()
	if err != nil || p.dir == "" {
		return manifest.Set{}, err
	}
	source := manifest.Source{Folder: filepath.Join(p.dir, servicesDir), Functions: p.Functions}
	for _, overlay := range []string{p.Overlay, p.path(localOverlay), a.abs(localOverlay)} {
		if overlay != "" && isDir(overlay) {
			source.Overlay = overlay
			break
		}
	}
	set, _, skipped, err := manifest.Load(ctx, source, manifest.Set{})
	if err == nil {
		err = skipped
	}
	return set, err
}
