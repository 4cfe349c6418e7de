package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"github.com/modelserveai/modelserve/gateway/route"
	"github.com/modelserveai/modelserve/local/activator"
	"github.com/modelserveai/modelserve/local/build"
	"github.com/modelserveai/modelserve/local/instance"
	"github.com/modelserveai/modelserve/local/manifest"
	"github.com/modelserveai/modelserve/local/revision"
)

// Bounds of one revision's queue, and the time a start may take when its
// manifest does not set (Knative's own default).
const (
	maxWaiting   = 1000
	maxWait      = 2 * time.Minute
	startTimeout = 10 * time.Minute
)

// services keeps one revision after another of each Service and the table of
// where requests go. All its methods may be called at any time.
type services struct {
	ctx      context.Context //nolint:containedctx // until close, which its revisions share
	cancel   context.CancelFunc
	builder  *build.Builder
	launcher *instance.Launcher
	table    *activator.Activator
	history  *history
	before   func(ctx context.Context, models []string) error // what a first start waits for, of a function that pins models
	changed  func()
	logger   *slog.Logger

	mu       sync.Mutex
	byName   map[string]*service
	retiring map[*running]bool
	closed   bool
	wg       sync.WaitGroup // closing revisions, and those that wait for a first readiness
}

// service is one Knative Service as it runs here.
type service struct {
	name    string
	traffic []servingv1.TrafficTarget
	file    string
	latest  string // name of the newest revision
	ready   string // name of the one that "latest ready" means; "" until there is one
	running map[string]*running
	problem error // why the manifest as it is cannot be applied
}

type running struct {
	*revision.Revision
	timeout time.Duration
	scaling *autoscalerconfig.Config
}

// apply makes what runs what the manifests define.
func (s *services) apply(set manifest.Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	var faults []error
	wanted := map[string]bool{}
	for _, m := range set.Services {
		wanted[m.Name] = true
		faults = append(faults, s.applyOne(m, set.Autoscaler))
	}
	for name, one := range s.byName {
		if !wanted[name] {
			s.retire(one, nil)
			delete(s.byName, name)
		}
	}
	s.route()
	return errors.Join(append(faults, s.history.save())...)
}

// applyOne follows one manifest. Called with mu held.
func (s *services) applyOne(m manifest.Service, scaling *autoscalerconfig.Config) error {
	one := s.byName[m.Name]
	if one == nil {
		one = &service{name: m.Name, running: map[string]*running{}}
		s.byName[m.Name] = one
	}
	one.file = m.File
	record, err := s.history.revision(m)
	if err != nil {
		one.problem = err
		return fmt.Errorf("%s: Service %s: %w", m.File, m.Name, err)
	}
	names := append(named(m.Object.Spec.Traffic), record.Name)
	for _, name := range names {
		if s.history.find(m.Name, name) == nil {
			one.problem = fmt.Errorf("spec.traffic: no revision %q; there are %s", name, strings.Join(s.history.names(m.Name), ", "))
			return fmt.Errorf("%s: Service %s: %w", m.File, m.Name, one.problem)
		}
	}
	one.problem, one.traffic, one.latest = nil, m.Object.Spec.Traffic, record.Name
	for _, name := range names {
		old := one.running[name]
		if old != nil && reflect.DeepEqual(old.scaling, scaling) {
			continue
		}
		one.running[name] = s.run(m.Name, *s.history.find(m.Name, name), scaling)
		if old != nil {
			s.end(old)
		}
	}
	s.promote(one)
	return nil
}

// promote makes the newest revision the latest ready one: at once when none was
// ready before it, else when it has shown that it can be. Called with mu held.
func (s *services) promote(one *service) {
	if one.ready == one.latest {
		return
	}
	previous := one.running[one.ready]
	if previous == nil || !isClosed(previous.Ready()) {
		one.ready = one.latest
		return
	}
	next, name := one.running[one.latest], one.latest
	next.Prove()
	s.wg.Go(func() {
		select {
		case <-s.ctx.Done():
			return
		case <-next.Ready():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if one.latest == name && s.byName[one.name] == one {
			one.ready = name
			s.route()
			s.changed()
		}
	})
}

// route makes the table and retires what it leaves out. Called with mu held.
func (s *services) route() {
	table := activator.Table{}
	for _, one := range s.byName {
		row := activator.Route{Service: one.name, Reason: one.problem}
		used := map[string]bool{one.latest: true, one.ready: true}
		for _, t := range one.targets() {
			r := one.running[t.name]
			if r == nil {
				continue
			}
			used[t.name] = true
			r.SetReachable(true)
			target := activator.Target{Revision: r.Revision, Percent: t.percent, Timeout: r.timeout}
			row.Targets = append(row.Targets, target)
			if t.tag != "" {
				target.Percent = 100
				table[t.tag+"-"+one.name+activator.Domain] = activator.Route{Service: one.name, Targets: []activator.Target{target}}
			}
		}
		table[one.name+activator.Domain] = row
		defer s.retire(one, used)
	}
	s.table.Replace(table)
}

// target is one line of traffic with its revision's name.
type target struct {
	name    string
	percent int
	tag     string
}

// targets are the Service's, with "latest" as the name it stands for.
func (one *service) targets() []target {
	var list []target
	for _, t := range one.traffic {
		name := t.RevisionName
		if name == "" {
			name = one.ready
		}
		percent := 0
		if t.Percent != nil {
			percent = int(*t.Percent)
		}
		list = append(list, target{name: name, percent: percent, tag: t.Tag})
	}
	return list
}

// sends reports whether a revision has a share of the traffic.
func (one *service) sends(revision string) bool {
	return slices.ContainsFunc(one.targets(), func(t target) bool { return t.name == revision && t.percent > 0 })
}

// retire closes the revisions that are not in used. What they are answering is
// answered first. Called with mu held.
func (s *services) retire(one *service, used map[string]bool) {
	for name, r := range one.running {
		if !used[name] {
			delete(one.running, name)
			s.end(r)
		}
	}
}

// end closes a revision, which may take as long as its requests. Called with mu
// held.
func (s *services) end(r *running) {
	s.retiring[r] = true
	s.wg.Go(func() {
		r.Close(r.timeout)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.retiring, r)
	})
}

// run makes a revision of a record.
func (s *services) run(service string, record record, scaling *autoscalerconfig.Config) *running {
	spec := record.Template.Spec
	container := spec.Containers[0]
	var program string
	var publishing atomic.Bool
	timeout := time.Duration(*spec.TimeoutSeconds) * time.Second
	cfg := revision.Config{
		Name: record.Name, Autoscaler: scaling, Annotations: record.Template.Annotations,
		ContainerConcurrency: int(*spec.ContainerConcurrency),
		Timeout:              timeout, StartTimeout: startTimeout, MaxWaiting: maxWaiting, MaxWait: min(maxWait, timeout),
		Build: func(ctx context.Context, wanted func() bool) (err error) {
			publishing.Store(false)
			importPath := strings.TrimPrefix(container.Image, manifest.Scheme)
			if program, err = s.builder.Build(ctx, importPath, record.Template.Annotations[manifest.ModuleAnnotation], wanted); err != nil {
				return err //nolint:wrapcheck // it names what was built
			}
			publishing.Store(true)
			return s.before(ctx, manifest.SplitModels(valueOf(record.Env, manifest.ModelsVariable)))
		},
		Building: func() string {
			if publishing.Load() {
				return "the models that come with the platform are being published"
			}
			return "the function is being built"
		},
		Start: func(ctx context.Context) (revision.Instance, error) {
			i, err := s.launcher.Start(ctx, instance.Spec{
				Service: service, Revision: record.Name, Program: program, Args: container.Args,
				Env: pairs(record.Env), Probe: container.ReadinessProbe, Limits: container.Resources.Limits,
			})
			if err != nil {
				return nil, err //nolint:wrapcheck // it names what was started
			}
			return i, nil
		},
		Changed: s.changed, Logger: s.logger,
	}
	if text, ok := record.Template.Annotations[serving.ProgressDeadlineAnnotationKey]; ok {
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			cfg.StartTimeout = d
		}
	}
	return &running{Revision: revision.New(s.ctx, cfg), timeout: timeout, scaling: scaling}
}

// close ends everything within grace, what was ending already too. Builds, starts
// and whatever waits for one are cancelled first.
func (s *services) close(grace time.Duration) {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	s.table.Replace(activator.Table{})
	for _, one := range s.byName {
		for _, r := range one.running {
			s.wg.Go(func() { r.Close(grace) })
		}
	}
	for r := range s.retiring {
		s.wg.Go(func() { r.Close(grace) })
	}
	s.byName = map[string]*service{}
	s.mu.Unlock()
	s.wg.Wait()
}

// FunctionStatus is how one function stands, for the screen and for GET
// /v1/functions.
type FunctionStatus struct {
	Name      string
	Models    []string // of MODELSERVE_MODELS, those that every revision with traffic serves
	Mixed     []string // those that only some of them serve
	Tags      []string
	Tagged    map[string][]string // by tag, those that its revision serves
	State     route.State         // of the latest revision
	Serving   route.State         // the state of a revision with traffic that has not failed; "" without one
	Reason    string              // of failed; also what is wrong with its manifest
	Revision  string              // the latest
	Instances int                 // that take requests
	Starting  int
}

// status reports every function, by name.
func (s *services) status() []FunctionStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []FunctionStatus
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		one := s.byName[name]
		f := FunctionStatus{Name: name, Revision: one.latest, State: route.StateFailed, Tagged: map[string][]string{}}
		f.Models, f.Mixed = s.models(one)
		for _, t := range one.targets() {
			if t.tag != "" {
				f.Tags = append(f.Tags, t.tag)
				f.Tagged[t.tag] = s.modelsOf(one, t)
			}
		}
		for revisionName, r := range one.running {
			st := r.Status()
			f.Instances += st.Ready
			f.Starting += st.Starting
			if revisionName == one.latest {
				f.State, f.Reason = st.State, st.Reason
			}
			if st.State != route.StateFailed && one.sends(revisionName) {
				f.Serving = st.State
			}
		}
		if one.problem != nil {
			f.Reason = one.problem.Error()
		}
		list = append(list, f)
	}
	return list
}

// models are those that a call finds whichever revision it comes to, and those
// that only some revisions with traffic have. Called with mu held.
func (s *services) models(one *service) (common, mixed []string) {
	var lists [][]string
	for _, t := range one.targets() {
		if t.percent > 0 && s.history.find(one.name, t.name) != nil {
			lists = append(lists, s.modelsOf(one, t))
		}
	}
	return route.Shared(lists)
}

// modelsOf are those of one line of traffic. Called with mu held.
func (s *services) modelsOf(one *service, t target) []string {
	record := s.history.find(one.name, t.name)
	if record == nil {
		return nil
	}
	return manifest.SplitModels(valueOf(record.Env, manifest.ModelsVariable))
}

func named(traffic []servingv1.TrafficTarget) []string {
	var names []string
	for _, t := range traffic {
		if t.RevisionName != "" {
			names = append(names, t.RevisionName)
		}
	}
	return names
}

func valueOf(env []corev1.EnvVar, name string) (value string) {
	for _, e := range env {
		if e.Name == name {
			value = e.Value
		}
	}
	return value
}

func pairs(env []corev1.EnvVar) []string {
	list := make([]string, len(env))
	for i, e := range env {
		list[i] = e.Name + "=" + e.Value
	}
	return list
}

// fingerprint is of all that makes a revision what it is.
func fingerprint(template servingv1.RevisionTemplateSpec, env []corev1.EnvVar) (string, error) {
	text, err := json.Marshal(struct {
		Template servingv1.RevisionTemplateSpec
		Env      []corev1.EnvVar
	}{template, env})
	if err != nil {
		return "", fmt.Errorf("encode template: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

func revisionName(service string, number int) string {
	return fmt.Sprintf("%s-%05d", service, number)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
