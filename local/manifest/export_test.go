package manifest

import (
	"context"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomize builds what the local platform does not run.
func Kustomize(files filesys.FileSystem, dir string) (resmap.ResMap, error) {
	return kustomize(files, dir)
}

// Decode decodes a file that is in no folder.
func Decode(ctx context.Context, file string, text []byte) (Set, error) {
	documents, err := split(file, text)
	if err != nil {
		return Set{}, err
	}
	set, faults := decodeAll(ctx, documents)
	return set, joined(faults)
}
