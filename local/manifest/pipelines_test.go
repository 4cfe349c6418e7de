package manifest_test

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// workload is what runs: a Knative Service, or a Deployment.
type workload struct {
	*corev1.PodSpec

	kind, name string
	pipelines  bool // it is the pipelines service
}

// String is how faults name it.
func (w workload) String() string { return w.kind + " " + w.name }

func (b *built) workloads() []workload {
	var all []workload
	for _, s := range b.services {
		all = append(all, workload{&s.Spec.Template.Spec.PodSpec, "Service", s.Name, false})
	}
	for _, d := range b.deployments {
		all = append(all, workload{&d.Spec.Template.Spec, "Deployment", d.Name, d.Name == pipelinesName})
	}
	return all
}

// pipelinesName is that of the pipelines service.
const pipelinesName = "modelserve-pipelines"

// stepped holds that the key by which steps of pipelines are verified reaches every
// function, as an optional one, and that their service has it: what one signs the others
// take. The private one is in a Secret alone.
func (b *built) stepped() error {
	var faults []error
	for _, w := range b.workloads() {
		if w.name == "gateway" {
			continue
		}
		for _, c := range w.Containers {
			n := 0
			for _, from := range c.EnvFrom {
				if m := from.ConfigMapRef; m != nil && m.Name == pipelinesName && from.Prefix == "" && (m.Optional != nil && *m.Optional) != w.pipelines {
					n++
				}
			}
			if n != 1 {
				faults = append(faults, fmt.Errorf("%s: container %s: envFrom has not the ConfigMap %s, as an optional one but for the pipelines service, once: no step would be run", w, c.Name, pipelinesName))
			}
		}
	}
	for name, m := range b.settings {
		if _, ok := m.Data["MODELSERVE_PIPELINES_KEY"]; ok {
			faults = append(faults, fmt.Errorf("ConfigMap %s: MODELSERVE_PIPELINES_KEY belongs into the Secret %s", name, pipelinesName))
		}
	}
	return errors.Join(append(faults, b.deployed(), b.called())...)
}

// deployed holds what Deployments ship with, as confined does of Knative's Services.
func (b *built) deployed() error {
	var faults []error
	for _, d := range b.deployments {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("Deployment %s: "+format, append([]any{d.Name}, args...)...))
		}
		spec := d.Spec.Template.Spec
		c := spec.Containers[0]
		if _, ok := b.accounts[spec.ServiceAccountName]; !ok {
			fault("there is no ServiceAccount %q", spec.ServiceAccountName)
		}
		for _, why := range append(loose(c.SecurityContext), unwritable(spec.Volumes, c)...) {
			fault("%s", why)
		}
		if len(c.Ports) != 1 || c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.ReadinessProbe.HTTPGet.Port.String() != c.Ports[0].Name {
			fault("it is not probed by /readyz of its one port")
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			fault("resources %v: expected requests of cpu and memory, and a limit of memory", c.Resources)
		}
		for key, value := range d.Spec.Selector.MatchLabels {
			if d.Spec.Template.Labels[key] != value {
				fault("its selector %s=%s is not of its pods", key, value)
			}
		}
		if grace := spec.TerminationGracePeriodSeconds; grace == nil || *grace <= 30 {
			fault("it is ended before MODELSERVE_GRACE is over")
		}
	}
	return errors.Join(faults...)
}

// called holds that Kubernetes' own Services lead to a Deployment's port, and that the
// gateway calls one that is there.
func (b *built) called() error {
	var faults []error
	hosts := map[string]bool{}
	for _, o := range b.others {
		s, ok := o.(*corev1.Service)
		if !ok {
			continue
		}
		hosts[s.Name+"."+s.Namespace+".svc.cluster.local"] = true
		leads := false
		for _, d := range b.deployments {
			pods, port := d.Spec.Template.Labels, d.Spec.Template.Spec.Containers[0].Ports[0].Name
			of := !slices.ContainsFunc(slices.Collect(maps.Keys(s.Spec.Selector)), func(key string) bool { return pods[key] != s.Spec.Selector[key] })
			leads = leads || of && len(s.Spec.Ports) == 1 && s.Spec.Ports[0].TargetPort.String() == port
		}
		if !leads || len(s.Spec.Selector) == 0 {
			faults = append(faults, fmt.Errorf("Service %s: it selects no Deployment's port", s.Name))
		}
	}
	for _, s := range b.services {
		for _, e := range s.Spec.Template.Spec.Containers[0].Env {
			if e.Name != "MODELSERVE_PIPELINES_URL" {
				continue
			}
			if u, err := url.Parse(e.Value); err != nil || !hosts[strings.ToLower(u.Host)] {
				faults = append(faults, fmt.Errorf("Service %s: MODELSERVE_PIPELINES_URL: there is no Service at %s", s.Name, e.Value))
			}
		}
	}
	return errors.Join(faults...)
}
