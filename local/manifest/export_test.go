package manifest

import (
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Kustomize builds what the local platform does not run.
func Kustomize(files filesys.FileSystem, dir string) (resmap.ResMap, error) {
	return kustomize(files, dir)
}
