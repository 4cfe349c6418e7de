package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	claimv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	network "knative.dev/networking/pkg/config"
	"knative.dev/pkg/apis"
	serving "knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/deployment"
	route "knative.dev/serving/pkg/reconciler/route/config"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	kjson "sigs.k8s.io/json"

	"github.com/modelserveai/modelserve/local/manifest"
)

// shipped is the folder of the manifests, from here.
const shipped = "../../config"

// built is what an overlay holds, each object decoded into its API type.
type built struct {
	services    []*servingv1.Service
	deployments []*appsv1.Deployment
	settings    map[string]*corev1.ConfigMap // of ours
	knative     map[string]*corev1.ConfigMap // of Knative's
	accounts    map[string]*corev1.ServiceAccount
	others      []any
}

// kinds are the API types that manifests may have.
func kinds() map[string]func() any {
	return map[string]func() any{
		"serving.knative.dev/v1 Service":                              func() any { return &servingv1.Service{} },
		"serving.knative.dev/v1beta1 DomainMapping":                   func() any { return &servingv1beta1.DomainMapping{} },
		"networking.internal.knative.dev/v1alpha1 ClusterDomainClaim": func() any { return &claimv1alpha1.ClusterDomainClaim{} },
		"apps/v1 Deployment":                                          func() any { return &appsv1.Deployment{} },
		"v1 Service":                                                  func() any { return &corev1.Service{} },
		"v1 ConfigMap":                                                func() any { return &corev1.ConfigMap{} },
		"v1 Namespace":                                                func() any { return &corev1.Namespace{} },
		"v1 ServiceAccount":                                           func() any { return &corev1.ServiceAccount{} },
		"v1 ResourceQuota":                                            func() any { return &corev1.ResourceQuota{} },
		"v1 LimitRange":                                               func() any { return &corev1.LimitRange{} },
		"networking.k8s.io/v1 NetworkPolicy":                          func() any { return &networkingv1.NetworkPolicy{} },
		"policy/v1 PodDisruptionBudget":                               func() any { return &policyv1.PodDisruptionBudget{} },
		"rbac.authorization.k8s.io/v1 Role":                           func() any { return &rbacv1.Role{} },
		"rbac.authorization.k8s.io/v1 RoleBinding":                    func() any { return &rbacv1.RoleBinding{} },
	}
}

// build builds an overlay and decodes it strictly.
func build(dir string) (built, error) {
	b := built{settings: map[string]*corev1.ConfigMap{}, knative: map[string]*corev1.ConfigMap{}, accounts: map[string]*corev1.ServiceAccount{}}
	resources, err := manifest.Kustomize(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return b, err
	}
	var faults []error
	for _, r := range resources.Resources() {
		text, err := r.MarshalJSON()
		if err != nil {
			return b, err
		}
		var of metav1.TypeMeta
		if err := json.Unmarshal(text, &of); err != nil {
			return b, err
		}
		kind := of.APIVersion + " " + of.Kind
		fresh, ok := kinds()[kind]
		if !ok {
			faults = append(faults, fmt.Errorf("%s %s: no test knows the kind", kind, r.GetName()))
			continue
		}
		object := fresh()
		strict, err := kjson.UnmarshalStrict(text, object)
		for _, err := range append(strict, err) {
			if err != nil {
				faults = append(faults, fmt.Errorf("%s %s: %w", kind, r.GetName(), err))
			}
		}
		b.add(object)
	}
	return b, errors.Join(faults...)
}

func (b *built) add(object any) {
	switch o := object.(type) {
	case *servingv1.Service:
		b.services = append(b.services, o)
	case *appsv1.Deployment:
		b.deployments = append(b.deployments, o)
	case *corev1.ServiceAccount:
		b.accounts[o.Name] = o
	case *corev1.ConfigMap:
		if o.Namespace == "knative-serving" {
			b.knative[o.Name] = o
		} else {
			b.settings[o.Name] = o
		}
	default:
		b.others = append(b.others, o)
	}
}

// parsers are Knative's own, by the ConfigMap that each reads.
func parsers() map[string]func(map[string]string) (any, error) {
	return map[string]func(map[string]string) (any, error){
		autoscaler.ConfigName:      func(d map[string]string) (any, error) { return autoscaler.NewConfigFromMap(d) },
		serving.DefaultsConfigName: func(d map[string]string) (any, error) { return serving.NewDefaultsConfigFromMap(d) },
		serving.FeaturesConfigName: func(d map[string]string) (any, error) { return serving.NewFeaturesConfigFromMap(d) },
		deployment.ConfigName: func(d map[string]string) (any, error) {
			d = maps.Clone(d)
			d[deployment.QueueSidecarImageKey] = "queue" // which Knative's own has
			return deployment.NewConfigFromMap(d)
		},
		network.ConfigMapName: func(d map[string]string) (any, error) { return network.NewConfigFromMap(d) },
		route.DomainConfigName: func(d map[string]string) (any, error) {
			return route.NewDomainFromConfigMap(&corev1.ConfigMap{Data: d})
		},
	}
}

// knativeSettings parses Knative's settings, and holds that each key changes
// something: the parsers take no notice of one that is misspelt.
func (b *built) knativeSettings() (*serving.Config, error) {
	config := &serving.Config{}
	var faults []error
	for name, m := range b.knative {
		parse, ok := parsers()[name]
		if !ok {
			faults = append(faults, fmt.Errorf("%s: no test knows who reads it", name))
			continue
		}
		parsed, err := parse(m.Data)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
			continue
		}
		for key := range m.Data {
			rest := map[string]string{}
			for k, v := range m.Data {
				if k != key {
					rest[k] = v
				}
			}
			without, err := parse(rest)
			if err == nil && reflect.DeepEqual(parsed, without) && name != route.DomainConfigName {
				faults = append(faults, fmt.Errorf("%s: %s: %q changes nothing: misspelt, or Knative's default", name, key, m.Data[key]))
			}
		}
		b.parsed(config, parsed)
	}
	if d, ok := b.knative[route.DomainConfigName]; ok {
		faults = append(faults, domains(d, b.services))
	}
	return config, errors.Join(faults...)
}

func (b *built) parsed(config *serving.Config, parsed any) {
	switch p := parsed.(type) {
	case *serving.Defaults:
		config.Defaults = p
	case *serving.Features:
		config.Features = p
	default:
		if m, ok := b.knative[autoscaler.ConfigName]; ok && config.Autoscaler == nil {
			config.Autoscaler, _ = autoscaler.NewConfigFromMap(m.Data) // a fault is reported in its own turn
		}
	}
}

// domains holds that the gateway alone has a public name, whatever the labels of
// the others.
func domains(m *corev1.ConfigMap, services []*servingv1.Service) error {
	d, err := route.NewDomainFromConfigMap(m)
	if err != nil {
		return err
	}
	var faults []error
	want := func(labels map[string]string, domain, of string) {
		if got := d.LookupDomainForLabels(labels); got != domain {
			faults = append(faults, fmt.Errorf("config-domain: %s is in %s, want %s", of, got, domain))
		}
	}
	want(nil, "svc.cluster.local", "a Service without labels")
	for _, s := range services {
		domain := "svc.cluster.local"
		if s.Name == "gateway" {
			domain = "models.test"
		}
		want(s.Labels, domain, s.Name)
	}
	return errors.Join(faults...)
}

// validate has Knative default and validate what is its own, with the settings
// that ship beside it.
func (b *built) validate(ctx context.Context) error {
	config, err := b.knativeSettings()
	faults := []error{err}
	ctx = apis.WithinCreate(serving.ToContext(ctx, config))
	for _, s := range b.services {
		object := s.DeepCopy()
		for i := range object.Spec.Template.Spec.Containers {
			object.Spec.Template.Spec.Containers[i].Image = "ko.local/image" // as ko makes of ko://
		}
		object.SetDefaults(ctx)
		// What Knative fills in would end an answer before timeoutSeconds, as text.
		spec := object.Spec.Template.Spec
		if begin := spec.ResponseStartTimeoutSeconds; begin != nil && *begin < *spec.TimeoutSeconds {
			faults = append(faults, fmt.Errorf("Service %s: timeoutSeconds: %d, and an answer has to begin within %d: say responseStartTimeoutSeconds", s.Name, *spec.TimeoutSeconds, *begin))
		}
		if err := object.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
			faults = append(faults, fmt.Errorf("Service %s: %w", s.Name, err))
		}
	}
	for _, o := range b.others {
		switch o := o.(type) {
		case *servingv1beta1.DomainMapping:
			o.SetDefaults(ctx)
			if err := o.Validate(ctx); err != nil {
				faults = append(faults, fmt.Errorf("DomainMapping %s: %w", o.Name, err))
			}
		case *networkingv1.NetworkPolicy:
			faults = append(faults, selects(o.Name, &o.Spec.PodSelector))
		case *policyv1.PodDisruptionBudget:
			faults = append(faults, selects(o.Name, o.Spec.Selector))
		}
	}
	return errors.Join(faults...)
}

// selects holds that a selector is one, and not of everything.
func selects(name string, s *metav1.LabelSelector) error {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err == nil && selector.Empty() {
		err = errors.New("selects every pod of the namespace")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkOverlay holds everything that can be checked of an overlay without a cluster.
func checkOverlay(ctx context.Context, dir string) error {
	b, err := build(dir)
	if err != nil {
		return err
	}
	variables, err := readVariables()
	if err != nil {
		return err
	}
	return errors.Join(b.validate(ctx), b.confined(), b.granted(), b.bounded(), b.verified(), b.proven(), b.decided(), b.sourced(), b.stepped(), b.known(variables))
}

// verified holds that the keys of models and policies reach every process that
// follows them: the gateway too, which decides on a call's version.
// They are optional, since nobody has to sign, and come by no other way.
func (b *built) verified() error {
	var faults []error
	for _, w := range b.workloads() {
		for _, c := range w.Containers {
			n := 0
			for _, from := range c.EnvFrom {
				if m := from.ConfigMapRef; m != nil && m.Name == "modelserve-signing" && from.Prefix == "" && m.Optional != nil && *m.Optional {
					n++
				}
			}
			if n != 1 {
				faults = append(faults, fmt.Errorf("%s: container %s: envFrom has not the ConfigMap modelserve-signing, as an optional one, once: it would follow what nobody signed", w, c.Name))
			}
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "MODELSERVE_PUBLIC_KEY") {
					faults = append(faults, fmt.Errorf("%s: container %s: %s would stand in for that of modelserve-signing", w, c.Name, e.Name))
				}
			}
		}
	}
	for name, m := range b.settings {
		for key := range m.Data {
			if strings.HasPrefix(key, "MODELSERVE_PUBLIC_KEY") && name != "modelserve-signing" {
				faults = append(faults, fmt.Errorf("ConfigMap %s: %s belongs into modelserve-signing", name, key))
			}
		}
	}
	return errors.Join(faults...)
}

// proven holds that what shows a call to come from the gateway reaches it, every
// function and the pipelines service, by a Secret alone: without it no tenant's inputs
// are opened. The pipelines service does not start without it.
func (b *built) proven() error {
	var faults []error
	for _, w := range b.workloads() {
		for _, c := range w.Containers {
			n := 0
			for _, from := range c.EnvFrom {
				if m := from.SecretRef; m != nil && m.Name == "modelserve-functions" && from.Prefix == "" && (m.Optional != nil && *m.Optional) != w.pipelines {
					n++
				}
			}
			if n != 1 {
				faults = append(faults, fmt.Errorf("%s: container %s: envFrom has not the Secret modelserve-functions, as an optional one but for the pipelines service, once: a ref would be opened for nobody", w, c.Name))
			}
		}
	}
	for name, m := range b.settings {
		if _, ok := m.Data["MODELSERVE_GATEWAY_SECRET"]; ok {
			faults = append(faults, fmt.Errorf("ConfigMap %s: MODELSERVE_GATEWAY_SECRET belongs into the Secret modelserve-functions", name))
		}
	}
	return errors.Join(faults...)
}

// overlayNames lists the overlays, so that none is left out.
func overlayNames(t *testing.T, config string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(config, "overlays"))
	if err != nil || len(entries) == 0 {
		t.Fatalf("no overlays: %v", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestOverlays(t *testing.T) {
	t.Parallel()
	for _, name := range overlayNames(t, shipped) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := checkOverlay(t.Context(), filepath.Join(shipped, "overlays", name)); err != nil {
				t.Error(err)
			}
		})
	}
}

// The checks find what people get wrong.
func TestOverlaysWithAFault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ file, was, is, overlay, want string }{
		"a field of a Service":      {"base/pool.yaml", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "dev", `unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem"`},
		"an answer cut short":       {"base/gateway.yaml", "responseStartTimeoutSeconds: 600", "containerConcurrency: 0", "prod", "Service gateway: timeoutSeconds: 600, and an answer has to begin within 300"},
		"a field of a policy":       {"components/namespace/network.yaml", "policyTypes:", "policyType:", "staging", `unknown field "spec.policyType"`},
		"a field of a quota":        {"components/namespace/quota.yaml", "hard:", "limits:", "prod", `unknown field "spec.limits"`},
		"a field of a role":         {"base/accounts.yaml", "verbs:", "verb:", "local", `unknown field "rules[0].verb"`},
		"a field of a budget":       {"components/namespace/disruption.yaml", "maxUnavailable:", "maxUnvailable:", "prod", `unknown field "spec.maxUnvailable"`},
		"a field of a mapping":      {"components/domains/pool.yaml", "ref:", "to:", "kourier", `unknown field "spec.to"`},
		"a selector of all":         {"components/namespace/disruption.yaml", "    matchLabels:\n      serving.knative.dev/service: gateway\n", "    matchLabels: {}\n", "prod", "selects every pod"},
		"a kind":                    {"components/namespace/quota.yaml", "kind: LimitRange", "kind: LimitsRange", "prod", "no test knows the kind"},
		"a feature":                 {"components/knative/features.yaml", "secure-pod-defaults", "secure-pod-default", "staging", "secure-pod-default: \"enabled\" changes nothing"},
		"a setting of the scale":    {"components/knative/autoscaler.yaml", "scale-down-delay", "scaledown-delay", "prod", "scaledown-delay: \"30s\" changes nothing"},
		"a setting Knative has":     {"components/knative/autoscaler.yaml", "scale-down-delay: 30s", "scale-down-delay: 0s", "prod", "scale-down-delay: \"0s\" changes nothing"},
		"a deadline":                {"components/knative/deployment.yaml", "progress-deadline", "progress-dead-line", "prod", "progress-dead-line: \"120s\" changes nothing"},
		"a setting out of range":    {"components/knative/autoscaler.yaml", "scale-down-delay: 30s", "scale-down-delay: -1s", "prod", "config-autoscaler: scale-down-delay cannot be negative"},
		"a public domain for all":   {"components/knative/domain.yaml", "selector:", "selectors:", "dev", "is in models.test, want svc.cluster.local"},
		"a variable":                {"base/settings.yaml", "MODELSERVE_S3_BUCKET", "MODELSERVE_S3_BUKCET", "prod", "MODELSERVE_S3_BUKCET: nothing reads it"},
		"a variable of the other":   {"base/gateway.yaml", "MODELSERVE_HOSTS", "MODELSERVE_MODELS", "prod", "Service gateway: MODELSERVE_MODELS: nothing reads it"},
		"a default set again":       {"overlays/dev/settings.yaml", "MODELSERVE_LOG_LEVEL: debug", "MODELSERVE_LOG_LEVEL: info", "dev", "MODELSERVE_LOG_LEVEL: \"info\" is the default"},
		"a default in other words":  {"base/gateway.yaml", "- name: MODELSERVE_HOSTS\n              value: gateway.default.models.test", "- name: MODELSERVE_GRACE\n              value: 0m30s", "dev", "MODELSERVE_GRACE: \"0m30s\" is the default"},
		"everybody is a proxy":      {"base/gateway.yaml", "::1/128", "::1/128,0.0.0.0/0", "prod", "0.0.0.0/0 has callers in it"},
		"queue-proxy is none":       {"base/gateway.yaml", "127.0.0.1/32,", "", "staging", "127.0.0.1 is missing"},
		"a value of no type":        {"overlays/dev/settings.yaml", `PATH_STYLE: "true"`, `PATH_STYLE: "yes"`, "dev", "MODELSERVE_S3_PATH_STYLE: "},
		"a Service not confined":    {"base/pool.yaml", "drop: [ALL]", "drop: [NET_RAW]", "dev", "Service pool: it keeps capabilities"},
		"a queue before the pool's": {"base/pool.yaml", "containerConcurrency: 0", "containerConcurrency: 32", "dev", "Service pool: expected containerConcurrency 0"},
		"no account":                {"base/pool.yaml", "serviceAccountName: function", "serviceAccountName: nobody", "dev", "Service pool: there is no ServiceAccount \"nobody\""},
		"a verb":                    {"base/accounts.yaml", "get, list, watch", "get, lst, watch", "local", `"lst"`},
		"more than is read":         {"base/accounts.yaml", "services, revisions]", "services, revisions, configurations]", "prod", `"configurations"`},
		"a role of nobody's":        {"base/accounts.yaml", "  - kind: ServiceAccount\n    name: gateway", "  - kind: ServiceAccount\n    name: function", "prod", "accounts may not do what they need"},
		"a role that is not there":  {"base/accounts.yaml", "  kind: Role\n  name: gateway", "  kind: Role\n  name: door", "prod", `"door"`},
		"the gateway's account":     {"base/pool.yaml", "serviceAccountName: function", "serviceAccountName: gateway", "dev", "Service pool: it runs as gateway"},
		"a quota of nothing":        {"components/namespace/quota.yaml", "requests.cpu", "request.cpu", "prod", "ResourceQuota modelserve: request.cpu: 36 bounds nothing of ours"},
		"a quota for no pod":        {"components/namespace/quota.yaml", "        memory: 64Mi\n", "", "staging", "every pod would be refused"},
		"a range of something":      {"components/namespace/quota.yaml", "type: Container", "type: Pod", "staging", "every pod would be refused"},
		"a host path":               {"base/pool.yaml", "emptyDir:\n            sizeLimit: 5Gi", "hostPath: {path: /var/lib/models}", "dev", "HostPath volume support is disabled"},
		"a field behind a feature":  {"overlays/gpu/features.yaml", "kubernetes.podspec-tolerations: enabled", "kubernetes.podspec-dnspolicy: enabled", "gpu", "must not set the field(s): spec.template.spec.tolerations"},
		"a gateway without keys":    {"base/gateway.yaml", "name: modelserve-signing", "name: modelserve-sign", "prod", "Service gateway: container gateway: envFrom has not the ConfigMap modelserve-signing"},
		"a function without keys":   {"base/pool.yaml", "name: modelserve-signing", "name: modelserve-sign", "dev", "Service pool: container function: envFrom has not the ConfigMap modelserve-signing"},
		"a gateway without proof":   {"base/gateway.yaml", "name: modelserve-functions", "name: modelserve-function", "prod", "Service gateway: container gateway: envFrom has not the Secret modelserve-functions"},
		"a function without proof":  {"base/text-detect.yaml", "name: modelserve-functions", "name: modelserve-function", "dev", "Service text-detect: container function: envFrom has not the Secret modelserve-functions"},
		"a proof for all to read":   {"base/settings.yaml", "MODELSERVE_S3_BUCKET: modelserve", "MODELSERVE_S3_BUCKET: modelserve\n  MODELSERVE_GATEWAY_SECRET: x", "dev", "belongs into the Secret modelserve-functions"},
		"keys that must be there":   {"base/gateway.yaml", "name: modelserve-signing\n                optional: true", "name: modelserve-signing", "kourier", "Service gateway: container gateway: envFrom has not the ConfigMap modelserve-signing"},
		"a key beside the keys":     {"base/gateway.yaml", "- name: MODELSERVE_HOSTS", "- name: MODELSERVE_PUBLIC_KEY_FILE", "staging", "MODELSERVE_PUBLIC_KEY_FILE would stand in"},
		"a function without steps":  {"base/text-detect.yaml", "name: modelserve-pipelines", "name: modelserve-pipeline", "prod", "Service text-detect: container function: envFrom has not the ConfigMap modelserve-pipelines"},
		"steps of nobody's":         {"base/pipelines.yaml", "- configMapRef:\n                name: modelserve-pipelines\n", "- configMapRef:\n                name: modelserve-pipeline\n", "prod", "Deployment modelserve-pipelines: container pipelines: envFrom has not the ConfigMap modelserve-pipelines"},
		"a key for all to read":     {"base/settings.yaml", "MODELSERVE_S3_BUCKET: modelserve", "MODELSERVE_S3_BUCKET: modelserve\n  MODELSERVE_PIPELINES_KEY: x", "dev", "MODELSERVE_PIPELINES_KEY belongs into the Secret modelserve-pipelines"},
		"a Deployment not confined": {"base/pipelines.yaml", "drop: [ALL]", "drop: [NET_RAW]", "dev", "Deployment modelserve-pipelines: it keeps capabilities"},
		"a Service of no pods":      {"base/pipelines.yaml", "  selector:\n    app.kubernetes.io/name: modelserve-pipelines\n", "  selector:\n    app.kubernetes.io/name: pipelines\n", "prod", "Service modelserve-pipelines: it selects no Deployment"},
		"pipelines at another host": {"base/gateway.yaml", "http://modelserve-pipelines.", "http://pipelines.", "prod", "MODELSERVE_PIPELINES_URL: there is no Service"},
		"a file of another map":     {"base/gateway.yaml", "            name: modelserve-gateway\n            optional: true", "            name: gateway\n            optional: true", "prod", "no ConfigMap modelserve-gateway"},
		"a file that never changes": {"base/gateway.yaml", "mountPath: /etc/modelserve\n", "mountPath: /etc/modelserve/gateway.yaml\n              subPath: gateway.yaml\n", "prod", "no ConfigMap modelserve-gateway"},
		"a gateway at zero":         {"base/gateway.yaml", `min-scale: "1"`, `min-scale: "0"`, "prod", "Service gateway: min-scale"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "config")
			if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tc.file)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), tc.was) {
				t.Fatalf("%s holds no %q: %v", tc.file, tc.was, err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), tc.was, tc.is)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := checkOverlay(t.Context(), filepath.Join(dir, "overlays", tc.overlay)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant in it: %s", err, tc.want)
			}
		})
	}
}

// config/README.md describes what a shared cache can be: a claim may be written to,
// and a hostPath is mounted read-only by Knative, whatever a Service has.
func TestWhatASharedCacheCanBe(t *testing.T) {
	t.Parallel()
	b, err := build(filepath.Join(shipped, "base"))
	if err != nil {
		t.Fatal(err)
	}
	pool := b.services[slices.IndexFunc(b.services, func(s *servingv1.Service) bool { return s.Name == "pool" })]
	features, err := serving.NewFeaturesConfigFromMap(map[string]string{
		serving.FeaturePodSpecHostPath: "enabled", serving.FeaturePodSpecPVClaim: "enabled", "kubernetes.podspec-persistent-volume-write": "enabled",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := apis.WithinCreate(serving.ToContext(t.Context(), &serving.Config{Features: features}))
	for name, tc := range map[string]struct {
		source   corev1.VolumeSource
		readOnly bool
	}{
		"a claim":    {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "models"}}, false},
		"a hostPath": {corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/lib/models"}}, true},
	} {
		object := pool.DeepCopy()
		spec := &object.Spec.Template.Spec
		spec.Containers[0].Image, spec.Volumes[1].VolumeSource = "ko.local/image", tc.source
		object.SetDefaults(ctx)
		if err := object.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m := spec.Containers[0].VolumeMounts[1]; m.ReadOnly != tc.readOnly {
			t.Errorf("%s is mounted %+v", name, m)
		}
	}
}

// Each function of an overlay with public names has one.
func TestEachFunctionHasAPublicName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"istio", "kourier"} {
		b, err := build(filepath.Join(shipped, "overlays", name))
		if err != nil {
			t.Fatal(err)
		}
		var want, mapped, claimed []string
		for _, s := range b.services {
			if s.Name != "gateway" {
				want = append(want, s.Name+".default.models.test")
			}
		}
		for _, o := range b.others {
			switch o := o.(type) {
			case *servingv1beta1.DomainMapping:
				if o.Spec.Ref.Name != "gateway" {
					t.Errorf("%s: %s leads to %s, past the gateway", name, o.Name, o.Spec.Ref.Name)
				}
				mapped = append(mapped, o.Name)
			case *claimv1alpha1.ClusterDomainClaim:
				claimed = append(claimed, o.Name)
			}
		}
		for _, list := range [][]string{want, mapped, claimed} {
			slices.Sort(list)
		}
		if !slices.Equal(want, mapped) || !slices.Equal(want, claimed) {
			t.Errorf("%s: functions %v, mapped %v, claimed %v", name, want, mapped, claimed)
		}
	}
}

// What `ko apply -Rf config/base` reads are manifests: ko and kubectl take every
// file with one of their endings, and a kustomization is none of theirs.
func TestOnlyManifestsEndAsManifests(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(shipped, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "kustomization.") {
			t.Errorf("%s: name it Kustomization", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
