package local

import (
	"slices"

	"github.com/modelserveai/modelserve/local/manifest"
)

// RevisionModels is what a revision serves.
type RevisionModels struct {
	Service, Revision string
	Models            []string // of MODELSERVE_MODELS
}

// NamedRevisions are the revisions that the traffic of services names, also by a
// tag alone, as the platform of a data folder remembers them.
func NamedRevisions(dataDir string, set manifest.Set) ([]RevisionModels, error) {
	h, err := openHistory(dir(dataDir).revisions())
	if err != nil {
		return nil, err
	}
	var named []RevisionModels
	for i := range set.Services {
		s := &set.Services[i]
		for _, target := range s.Object.Spec.Traffic {
			if target.RevisionName == "" {
				continue
			}
			if old := h.find(s.Name, target.RevisionName); old != nil {
				its := manifest.Service{Env: slices.Clone(old.Env)}
				named = append(named, RevisionModels{Service: s.Name, Revision: old.Name, Models: its.Models()})
			}
		}
	}
	return named, nil
}
