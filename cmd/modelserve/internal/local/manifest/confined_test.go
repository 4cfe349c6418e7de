package manifest_test

import (
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// nobody is the user of the base images.
const nobody = 65532

// confined holds what every Service ships with: the least that it may do, room
// to write in, and one port for both protocols.
func (b *built) confined() error {
	var faults []error
	for _, s := range b.services {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("Service %s: "+format, append([]any{s.Name}, args...)...))
		}
		spec := s.Spec.Template.Spec
		c := spec.Containers[0]
		account, ok := b.accounts[spec.ServiceAccountName]
		switch {
		case !ok:
			fault("there is no ServiceAccount %q", spec.ServiceAccountName)
		case s.Name != "gateway" && (account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken):
			fault("its ServiceAccount %s has a token", account.Name)
		}
		for _, why := range loose(c.SecurityContext) {
			fault("%s", why)
		}
		if len(c.Ports) != 1 || c.Ports[0].Name != "h2c" {
			fault("ports %v: expected one, named h2c", c.Ports)
		}
		if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
			fault("it is not probed by /readyz")
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			fault("resources %v: expected requests of cpu and memory, and a limit of memory", c.Resources)
		}
		if s.Spec.Template.Annotations["serving.knative.dev/progress-deadline"] == "" {
			fault("it has no progress deadline")
		}
		for _, why := range unwritable(spec.Volumes, c) {
			fault("%s", why)
		}
		faults = append(faults, scales(s))
	}
	return errors.Join(faults...)
}

// loose tells what a security context leaves open.
func loose(s *corev1.SecurityContext) []string {
	if s == nil {
		return []string{"it has no securityContext"}
	}
	var open []string
	for why, closed := range map[string]bool{
		"it may be root":                s.RunAsNonRoot != nil && *s.RunAsNonRoot && s.RunAsUser != nil && *s.RunAsUser == nobody,
		"it may write its root":         s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem,
		"it may gain privileges":        s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		"it keeps capabilities":         s.Capabilities != nil && len(s.Capabilities.Drop) == 1 && s.Capabilities.Drop[0] == "ALL" && len(s.Capabilities.Add) == 0,
		"it may make every system call": s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
	} {
		if !closed {
			open = append(open, why)
		}
	}
	return open
}

// unwritable tells what is amiss where a container with a read-only root writes.
func unwritable(volumes []corev1.Volume, c corev1.Container) []string {
	var amiss []string
	paths := map[string]*resource.Quantity{}
	for _, v := range volumes {
		for _, m := range c.VolumeMounts {
			if m.Name != v.Name {
				continue
			}
			if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
				amiss = append(amiss, "volume "+v.Name+" has no size limit")
				continue
			}
			paths[m.MountPath] = v.EmptyDir.SizeLimit
		}
	}
	if paths["/tmp"] == nil {
		amiss = append(amiss, "it cannot write to /tmp")
	}
	for _, e := range c.Env {
		if e.Name != "MODELSERVE_CACHE_DIR" {
			continue
		}
		cache := resource.MustParse("4Gi") // MODELSERVE_CACHE_SIZE by default
		if room := paths[e.Value]; room == nil || room.Cmp(cache) <= 0 {
			amiss = append(amiss, fmt.Sprintf("its cache at %s has room for %v", e.Value, room))
		}
	}
	return amiss
}

// scales holds that there is one gateway, and that a function takes more at once
// than another instance starts at.
func scales(s *servingv1.Service) error {
	at := s.Spec.Template.Annotations
	if s.Name == "gateway" {
		if at["autoscaling.knative.dev/min-scale"] != "1" || at["autoscaling.knative.dev/max-scale"] != "1" {
			return errors.New("Service gateway: it keeps keys to itself, so there can be only one")
		}
		return nil
	}
	most := s.Spec.Template.Spec.ContainerConcurrency
	if most == nil || *most < 1 {
		return fmt.Errorf("Service %s: it takes requests without bound", s.Name)
	}
	text, ok := at["autoscaling.knative.dev/target"]
	if target, err := strconv.Atoi(text); ok && (err != nil || int64(target) > *most) {
		return fmt.Errorf("Service %s: another instance starts at %s at once, of which this takes %d", s.Name, text, *most)
	}
	return nil
}
