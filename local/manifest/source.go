package manifest

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the manifest of the pool
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/modelserveai/modelserve/internal/regular"
)

// originKey is the annotation in which kustomize notes which file an object is from.
const originKey = "config.kubernetes.io/origin"

// maxFile bounds a manifest.
const maxFile = 4 << 20

// recorder is the file system as kustomize reads it. It keeps what was read,
// which is what to watch, and asks kustomize to name each object's file.
type recorder struct {
	filesys.FileSystem
	kustomization string // folder whose kustomization gets the request
	read          map[string][sha256.Size]byte
}

func newRecorder() *recorder {
	return &recorder{FileSystem: filesys.MakeFsOnDisk(), read: map[string][sha256.Size]byte{}}
}

// ReadFile reads path and remembers what was there.
func (r *recorder) ReadFile(path string) ([]byte, error) {
	text, err := readBounded(path)
	r.read[path] = fingerprint(text, err)
	if err != nil {
		return nil, err
	}
	if filepath.Dir(path) == r.kustomization && slices.Contains(konfig.RecognizedKustomizationFileNames(), filepath.Base(path)) {
		return withOrigins(text)
	}
	return text, nil
}

// readBounded reads a manifest. It never waits, whatever has the file's name:
// the folders are looked at every second.
func readBounded(path string) ([]byte, error) {
	return regular.Read(path, maxFile) //nolint:wrapcheck // names the file, and kustomize looks at its type
}

// withOrigins adds buildMetadata: [originAnnotations] to a kustomization.
func withOrigins(text []byte) ([]byte, error) {
	fields := map[string]any{}
	if err := sigsyaml.UnmarshalStrict(text, &fields); err != nil {
		return text, nil //nolint:nilerr // kustomize reports better what is wrong with it
	}
	list, _ := fields["buildMetadata"].([]any)
	fields["buildMetadata"] = append(list, "originAnnotations")
	out, err := sigsyaml.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("ask kustomize for origins: %w", err)
	}
	return out, nil
}

// kustomizing is held while kustomize runs: it keeps Kubernetes' OpenAPI schema
// in globals of the process that it does not always lock.
var kustomizing sync.Mutex //nolint:gochecknoglobals // guards globals

// kustomize builds the kustomization in dir, one at a time.
func kustomize(files filesys.FileSystem, dir string) (resmap.ResMap, error) {
	kustomizing.Lock()
	defer kustomizing.Unlock()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, dir)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", dir, err)
	}
	return built, nil
}

// poolAlone is what runs where there is no overlay: the pool, and the settings
// of config/overlays/local. A test holds it to them.
//
//go:embed pool.yaml
var poolAlone []byte

// overlay builds a kustomization; "" is the pool alone.
func (r *recorder) overlay(dir string) ([]document, error) {
	if dir == "" {
		return split("(built in)", poolAlone)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", dir, err)
	}
	if r.kustomization, err = filepath.EvalSymlinks(absolute); err != nil {
		return nil, fmt.Errorf("kustomize %s: %w", dir, err)
	}
	built, err := kustomize(r, dir)
	if err != nil {
		return nil, err
	}
	documents := make([]document, 0, built.Size())
	var faults []error
	for _, resource := range built.Resources() {
		d := document{file: dir}
		if origin, err := resource.GetOrigin(); err == nil && origin != nil && origin.Path != "" {
			d.file = filepath.Join(dir, origin.Path)
		}
		annotations := resource.GetAnnotations()
		delete(annotations, originKey)
		if err := resource.SetAnnotations(annotations); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.file, err))
			continue
		}
		if d.json, err = resource.MarshalJSON(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.file, err))
			continue
		}
		documents = append(documents, d)
	}
	return documents, errors.Join(faults...)
}

// split cuts a file into its YAML documents, each as JSON.
func split(file string, text []byte) ([]document, error) {
	reader := yaml.NewYAMLReader(newBufferedReader(text))
	var documents []document
	before := 0 // lines
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if at := bytes.Index(text, part); at > 0 {
			before = bytes.Count(text[:at], []byte("\n"))
		}
		if len(bytes.TrimSpace(part)) == 0 {
			continue
		}
		asJSON, err := sigsyaml.YAMLToJSONStrict(part)
		if err != nil && onlyMerged(part) {
			asJSON, err = sigsyaml.YAMLToJSON(part)
		}
		if err != nil {
			return nil, syntax(file, before, part, err)
		}
		if string(asJSON) != "null" { // only comments
			documents = append(documents, document{file: file, json: asJSON, text: text})
		}
	}
}

// onlyMerged reports whether a document is YAML in which no name is there twice,
// but that what is merged (<<) is named again, which overrides it.
func onlyMerged(part []byte) bool {
	var value any
	return bytes.Contains(part, []byte("<<")) && yamlv3.Unmarshal(part, &value) == nil
}

// Snapshot is what was read, file by file, and what else was in their folders.
type Snapshot struct {
	read    map[string][sha256.Size]byte
	folders map[string]string // to the names in it
}

func (r *recorder) snapshot(folder string) Snapshot {
	s := Snapshot{read: r.read, folders: map[string]string{}}
	for path := range r.read {
		s.folders[filepath.Dir(path)] = names(filepath.Dir(path))
	}
	if folder != "" {
		s.folders[folder] = names(folder)
	}
	return s
}

// Changed reports whether any file that was read now reads otherwise, or one came
// to its folder or left it.
func (s Snapshot) Changed() bool {
	for folder, was := range s.folders {
		if names(folder) != was {
			return true
		}
	}
	for path, was := range s.read {
		if fingerprint(readBounded(path)) != was {
			return true
		}
	}
	return false
}

// fingerprint is of the bytes, or of the fact that there were none to read.
func fingerprint(text []byte, err error) [sha256.Size]byte {
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(text)
}

func names(folder string) string {
	entries, _ := os.ReadDir(folder) // one that is not there has no names
	var list strings.Builder
	for _, e := range entries {
		list.WriteString(e.Name())
		list.WriteByte(0)
	}
	return list.String()
}
