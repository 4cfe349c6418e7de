// Package manifest reads the files that define what the local platform runs: a
// kustomize overlay of Knative Services and the settings beside them, and a
// folder of single manifests that commands write.
//
// Types, defaults and validation are knative.dev/serving's own. What this
// package adds is a list of the fields that one machine can honour, and one of
// those that confine a container and not a process: any other field that is set
// is an error that names it, so nothing else in a manifest is ever ignored.
package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	serving "knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	kjson "sigs.k8s.io/json"
)

// Scheme begins an image that is built from source: ko://IMPORT/PATH.
const Scheme = "ko://"

// Namespace is the only one that the local platform has: its URLs are
// FUNCTION.default.localhost.
const Namespace = "default"

// FunctionFile is the manifest that a folder of a function's Go module has.
const FunctionFile = "service.yaml"

// ModuleAnnotation names, in a template of a Service, the folder of the Go module
// that has the image's import path, where that is not the platform's own.
const ModuleAnnotation = "modelserve.dev/module"

// Source is where manifests are.
type Source struct {
	Overlay   string   // a folder with a kustomization; "" is the pool alone
	Folder    string   // single manifests, *.yaml; need not exist
	Functions []string // folders of Go modules, each with a FunctionFile
}

// Service is one Knative Service that can run here, with its defaults filled in.
type Service struct {
	Name   string
	File   string // where it is from, for messages
	Import string // Go import path of its main package
	Object *servingv1.Service
	Env    []corev1.EnvVar // of its container: envFrom and valueFrom are resolved, later ones win
}

// Container is the Service's only container.
func (s *Service) Container() *corev1.Container {
	return &s.Object.Spec.Template.Spec.Containers[0]
}

// Set is everything that one reading found.
type Set struct {
	Services   []Service // by name
	Autoscaler *autoscalerconfig.Config
}

// Load reads and checks everything. A single manifest with a fault is left out as a
// whole: the Services that it had in before stay as they were, and skipped joins
// its faults, each with its file, its Service and its field. A fault of the overlay
// is an error. The Snapshot, valid even with an error, reports when to read again.
func Load(ctx context.Context, source Source, before Set) (set Set, snapshot Snapshot, skipped, err error) {
	files := newRecorder()
	overlay, overlayErr := files.overlay(source.Overlay)
	single, faults, err := files.single(source)
	snapshot = files.snapshot(source.Folder)
	if err := errors.Join(overlayErr, err); err != nil {
		return Set{}, snapshot, nil, err
	}
	for { // at most once a file: what was left out may have been needed by another
		set, found := decodeAll(ctx, slices.Concat(overlay, single))
		kept := slices.DeleteFunc(slices.Clone(single), func(d document) bool {
			return slices.ContainsFunc(found, func(f fault) bool { return f.file == d.file })
		})
		if len(kept) == len(single) {
			return set.with(before, faults), snapshot, joined(faults), joined(found)
		}
		for _, f := range found {
			if slices.ContainsFunc(single, func(d document) bool { return d.file == f.file }) {
				faults = append(faults, f)
			}
		}
		single = kept
	}
}

// with is the set and what files with faults had in before.
func (s Set) with(before Set, faults []fault) Set {
	for _, old := range before.Services {
		faulty := slices.ContainsFunc(faults, func(f fault) bool { return f.file == old.File })
		taken := slices.ContainsFunc(s.Services, func(now Service) bool { return now.Name == old.Name })
		if faulty && !taken {
			s.Services = append(s.Services, old)
		}
	}
	slices.SortFunc(s.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// fault is what is wrong with a file.
type fault struct {
	file string
	err  error // names the file
}

func joined(faults []fault) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f.err
	}
	return errors.Join(errs...)
}

// document is one object as a file gave it.
type document struct {
	file string
	json []byte
	text []byte // of the whole file; nil where it is to be read again

	module string // folder of the Go module that it is of; "" is the platform's own
}

// header is what every Kubernetes object has.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

// decodeAll decodes what it can, and returns the faults of the rest file by file.
func decodeAll(ctx context.Context, documents []document) (Set, []fault) {
	var services []document
	var headers []header // of services
	var faults []fault
	wrong := func(d document, format string, args ...any) {
		err := fmt.Errorf(format, args...)
		faults = append(faults, fault{d.file, fmt.Errorf("%s: %w", d.at(err.Error()), err)})
	}
	values := settings{maps: map[string]map[string]string{}, secrets: map[string]map[string]string{}}
	config := &serving.Config{}
	for _, d := range documents {
		var h header
		if err := json.Unmarshal(d.json, &h); err != nil {
			wrong(d, "%w", inYAMLTerms(err))
			continue
		}
		switch h.APIVersion + " " + h.Kind {
		case "serving.knative.dev/v1 Service":
			services, headers = append(services, d), append(headers, h)
		case "v1 ConfigMap", "v1 Secret":
			if err := values.add(d, h, config); err != nil {
				wrong(d, "%s %s: %w", h.Kind, h.Metadata.Name, err)
			}
		default:
			if object := identity(h.APIVersion, h.Kind); object != nil {
				if err := checkIdentity(d, h, object); err != nil {
					wrong(d, "%s %s: %w", h.Kind, h.Metadata.Name, err)
				}
				continue
			}
			wrong(d, "%s %s of %s: not supported by the local platform; "+
				"it runs Service of serving.knative.dev/v1, and reads ConfigMap and Secret", h.Kind, h.Metadata.Name, h.APIVersion)
		}
	}
	if config.Autoscaler == nil {
		config.Autoscaler, _ = autoscaler.NewConfigFromMap(nil) // the defaults are valid
	}
	set := Set{Autoscaler: config.Autoscaler}
	ctx = apis.WithinCreate(serving.ToContext(ctx, config))
	seen := map[string]string{}
	for i, d := range services {
		s, err := service(ctx, d, headers[i], values)
		if err != nil {
			faults = append(faults, fault{d.file, err})
			continue
		}
		if first, ok := seen[s.Name]; ok {
			wrong(d, "Service %s: %s has one of that name", s.Name, first)
			continue
		}
		seen[s.Name] = d.file
		set.Services = append(set.Services, s)
	}
	slices.SortFunc(set.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return set, faults
}

// service decodes one Service strictly, checks what it sets, and has Knative
// default and validate it.
func service(ctx context.Context, d document, h header, values settings) (Service, error) {
	object := &servingv1.Service{}
	fault := func(errs ...error) error { return d.faults(h, errs) }
	if faults := misshapen(d.json, object); len(faults) > 0 {
		return Service{}, fault(faults...)
	}
	strict, err := kjson.UnmarshalStrict(d.json, object)
	if err != nil {
		return Service{}, fault(err)
	}
	if len(strict) > 0 {
		return Service{}, fault(strict...)
	}
	if faults := unsupported(d.json); len(faults) > 0 {
		return Service{}, fault(faults...)
	}
	if object.Namespace == "" {
		object.Namespace = Namespace
	}
	if object.Namespace != Namespace {
		return Service{}, fault(fmt.Errorf("metadata.namespace: %q: the local platform has only %q", object.Namespace, Namespace))
	}
	if d.module != "" {
		if object.Spec.Template.Annotations == nil {
			object.Spec.Template.Annotations = map[string]string{}
		}
		object.Spec.Template.Annotations[ModuleAnnotation] = d.module
	}
	object.SetDefaults(ctx)
	s := Service{Name: object.Name, File: d.file, Object: object}
	if len(object.Spec.Template.Spec.Containers) == 1 {
		var ok bool
		if s.Import, ok = strings.CutPrefix(s.Container().Image, Scheme); !ok || s.Import == "" {
			return Service{}, fault(fmt.Errorf("spec.template.spec.containers[0].image: %q: "+
				"the local platform builds images from source: expected ko://IMPORT/PATH", s.Container().Image))
		}
		if err := module.CheckImportPath(s.Import); err != nil { // it becomes an argument of go build
			return Service{}, fault(fmt.Errorf("spec.template.spec.containers[0].image: %w", err))
		}
		s.Container().Image = "ko.local/function" // Knative validates a reference to a registry
	}
	if faults := validation(object.Validate(ctx)); len(faults) > 0 {
		return Service{}, fault(faults...)
	}
	s.Container().Image = Scheme + s.Import
	if s.Env, err = values.environment(s.Container()); err != nil {
		return Service{}, fault(err)
	}
	return s, nil
}

// faults adds to each fault of a Service where it is: file, line and Service.
func (d document) faults(h header, errs []error) error {
	which := "Service " + h.Metadata.Name
	if h.Metadata.Name == "" {
		which = "Service without a name"
	}
	for i, err := range errs {
		err = inYAMLTerms(err)
		errs[i] = fmt.Errorf("%s: %s: %w", d.at(err.Error()), which, err)
	}
	return errors.Join(errs...)
}

// validation splits Knative's error, each fault with its details, and leaves
// warnings out.
func validation(err *apis.FieldError) []error {
	if err = err.Filter(apis.ErrorLevel); err == nil {
		return nil
	}
	var faults []error
	for _, one := range err.WrappedErrors() {
		faults = append(faults, errors.New(strings.ReplaceAll(one.Error(), "\n", ": ")))
	}
	return faults
}

// single reads the manifests that are no part of the overlay.
func (r *recorder) single(source Source) (documents []document, faults []fault, err error) {
	documents, faults, err = r.folder(source.Folder)
	for _, module := range source.Functions {
		path := filepath.Join(module, FunctionFile)
		found, err := r.file(path)
		if err != nil {
			faults = append(faults, fault{path, err})
		}
		absolute, err := filepath.Abs(module)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", path, err)
		}
		for i := range found {
			found[i].module = absolute
		}
		documents = append(documents, found...)
	}
	return documents, faults, err
}

// file reads a file of manifests.
func (r *recorder) file(path string) ([]document, error) {
	text, err := r.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return split(path, text)
}

// folder reads single manifests, and reports those that it cannot read.
func (r *recorder) folder(dir string) (documents []document, faults []fault, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || filepath.Ext(e.Name()) != ".yaml" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		found, err := r.file(path)
		if err != nil {
			faults = append(faults, fault{path, err})
		}
		documents = append(documents, found...)
	}
	return documents, faults, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
