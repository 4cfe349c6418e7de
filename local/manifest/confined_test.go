package manifest_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// nobody is the user of the base images.
const nobody = 65532

// sourced holds whom the gateway believes where a call comes from: queue-proxy, by
// loopback, which every call comes from, and beside it private networks alone.
func (b *built) sourced() error {
	const variable = "MODELSERVE_TRUSTED_PROXIES"
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("Service gateway: "+variable+": "+format, args...))
	}
	at := slices.IndexFunc(b.services, func(s *servingv1.Service) bool { return s.Name == "gateway" })
	if at < 0 {
		return nil // the local platform has one of its own
	}
	var networks string
	for _, e := range b.services[at].Spec.Template.Spec.Containers[0].Env {
		if e.Name == variable {
			networks = e.Value
		}
	}
	queueProxy := map[netip.Addr]bool{netip.MustParseAddr("127.0.0.1"): false, netip.IPv6Loopback(): false}
	for _, text := range strings.Split(networks, ",") {
		network, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			fault("%w", err)
		case !network.Addr().IsLoopback() && !network.Addr().IsPrivate() || network.Bits() < 8:
			fault("%v has callers in it", network)
		}
		for address := range queueProxy {
			queueProxy[address] = queueProxy[address] || network.Contains(address)
		}
	}
	for address, trusted := range queueProxy {
		if !trusted {
			fault("%v is missing: every call comes from there", address)
		}
	}
	return errors.Join(faults...)
}

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

// loose lists what a security context leaves open.
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

// unwritable lists what is wrong where a container with a read-only root writes: a
// function that holds its model in memory writes nowhere, and any volume costs it
// time from zero.
func unwritable(volumes []corev1.Volume, c corev1.Container) []string {
	var faults []string
	paths := map[string]*resource.Quantity{}
	for _, v := range volumes {
		for _, m := range c.VolumeMounts {
			if m.Name != v.Name {
				continue
			}
			if v.ConfigMap != nil && m.ReadOnly {
				continue // nothing is written there
			}
			if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
				faults = append(faults, "volume "+v.Name+" has no size limit")
				continue
			}
			paths[m.MountPath] = v.EmptyDir.SizeLimit
		}
	}
	keeps := !slices.Contains(c.Env, corev1.EnvVar{Name: "MODELSERVE_CACHE_DIR", Value: "none"})
	switch {
	case keeps && paths["/tmp"] == nil:
		faults = append(faults, "it cannot write to /tmp")
	case !keeps && len(volumes) > 0:
		faults = append(faults, "it keeps no files, and has a volume")
	}
	for _, e := range c.Env {
		if e.Name != "MODELSERVE_CACHE_DIR" || !keeps {
			continue
		}
		cache := resource.MustParse("4Gi") // MODELSERVE_CACHE_SIZE by default
		if room := paths[e.Value]; room == nil || room.Cmp(cache) <= 0 {
			faults = append(faults, fmt.Sprintf("its cache at %s has room for %v", e.Value, room))
		}
	}
	return faults
}

// scales holds that there is always a gateway, that a function takes more at once than
// another instance starts at, and that nothing stands before the queue of the pool, which
// shares it between tenants.
func scales(s *servingv1.Service) error {
	at := s.Spec.Template.Annotations
	if s.Name == "gateway" {
		if at["autoscaling.knative.dev/min-scale"] != "1" {
			return errors.New("Service gateway: min-scale: the first caller would wait for the gateway too")
		}
		if _, bounded := at["autoscaling.knative.dev/max-scale"]; bounded {
			return errors.New("Service gateway: max-scale: the gateways share a database, so that there may be several")
		}
		return nil
	}
	most := s.Spec.Template.Spec.ContainerConcurrency
	text, ok := at["autoscaling.knative.dev/target"]
	if s.Name == "pool" {
		if most == nil || *most != 0 || !ok {
			return errors.New("Service pool: expected containerConcurrency 0, and a target of its autoscaling")
		}
		return nil
	}
	if most == nil || *most < 1 {
		return fmt.Errorf("Service %s: it takes requests without bound", s.Name)
	}
	if target, err := strconv.Atoi(text); ok && (err != nil || int64(target) > *most) {
		return fmt.Errorf("Service %s: another instance starts at %s at once, of which this takes %d", s.Name, text, *most)
	}
	return nil
}

// granted holds what an overlay has its accounts ask of Kubernetes: what
// gateway/knative reads, for the gateway, that and what pipelines/knative keeps, for the
// pipelines service, and nothing else for anybody.
func (b *built) granted() error {
	watch := rbacv1.PolicyRule{APIGroups: []string{"serving.knative.dev"}, Resources: []string{"services", "revisions"}, Verbs: []string{"get", "list", "watch"}}
	keep := []string{"get", "list", "watch", "create", "patch", "update", "delete"}
	want := map[string]any{
		"Role gateway in default": []rbacv1.PolicyRule{watch},
		"Role pipelines in default": []rbacv1.PolicyRule{
			{APIGroups: []string{"flows.knative.dev"}, Resources: []string{"sequences", "parallels"}, Verbs: keep},
			{APIGroups: []string{"messaging.knative.dev"}, Resources: []string{"subscriptions"}, Verbs: keep},
			watch,
		},
		"RoleBinding pipelines in default": []any{
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pipelines"},
			[]rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "pipelines", Namespace: "default"}},
		},
		"RoleBinding gateway in default": []any{
			rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "gateway"},
			[]rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "gateway", Namespace: "default"}},
		},
	}
	got := map[string]any{}
	for _, o := range b.others {
		switch o := o.(type) {
		case *rbacv1.Role:
			got["Role "+o.Name+" in "+o.Namespace] = o.Rules
		case *rbacv1.RoleBinding:
			got["RoleBinding "+o.Name+" in "+o.Namespace] = []any{o.RoleRef, o.Subjects}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("accounts may not do what they need, or more (-want +got):\n%s", diff)
	}
	for _, w := range b.workloads() {
		if account := w.ServiceAccountName; (account == "gateway") != (w.name == "gateway") || (account == "pipelines") != w.pipelines {
			return fmt.Errorf("%s: it runs as %s", w, account)
		}
	}
	return nil
}

// bounded holds a quota to what can be counted of our pods, and to a request for
// each container that sets none, without which it would refuse every pod.
func (b *built) bounded() error {
	counted := []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory}
	var quota bool
	filled := corev1.ResourceList{}
	for _, o := range b.others {
		switch o := o.(type) {
		case *corev1.ResourceQuota:
			quota = true
			for name, most := range o.Spec.Hard {
				if !slices.Contains(counted, name) || most.Sign() <= 0 {
					return fmt.Errorf("ResourceQuota %s: %s: %s bounds nothing of ours, or refuses every pod", o.Name, name, most.String())
				}
			}
		case *corev1.LimitRange:
			for _, l := range o.Spec.Limits {
				if l.Type == corev1.LimitTypeContainer {
					filled = l.DefaultRequest
				}
			}
		}
	}
	if quota && (filled.Cpu().IsZero() || filled.Memory().IsZero()) {
		return errors.New("there is a quota, and no request of cpu and memory for a container that has none: every pod would be refused")
	}
	return nil
}
