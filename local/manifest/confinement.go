package manifest

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	kjson "sigs.k8s.io/json"
)

// confining are the paths of a Service, written as those of honoured, that set
// what a container may not do and where it may write. They are read and checked
// and have no effect here: a function is a child process of the platform, runs
// as the user who runs it, and sees this machine's files
// (docs/adr/0018-manifests-for-clusters.md).
var confining = []string{ //nolint:gochecknoglobals // a constant, but Go has no constant slices
	"spec.template.spec.serviceAccountName",
	"spec.template.spec.volumes[].name",
	"spec.template.spec.volumes[].emptyDir.medium",
	"spec.template.spec.volumes[].emptyDir.sizeLimit",
	"spec.template.spec.containers[].volumeMounts[].name",
	"spec.template.spec.containers[].volumeMounts[].mountPath",
	"spec.template.spec.containers[].securityContext.runAsNonRoot",
	"spec.template.spec.containers[].securityContext.runAsUser",
	"spec.template.spec.containers[].securityContext.runAsGroup",
	"spec.template.spec.containers[].securityContext.readOnlyRootFilesystem",
	"spec.template.spec.containers[].securityContext.allowPrivilegeEscalation",
	"spec.template.spec.containers[].securityContext.capabilities.drop[]",
	"spec.template.spec.containers[].securityContext.seccompProfile.type",
	"spec.template.spec.containers[].terminationMessagePolicy",
}

// identity returns an empty object of a kind that is a process's identity in
// Kubernetes; nil for any other kind. Here there is no Kubernetes, so such an
// object is read and has no effect.
func identity(apiVersion, kind string) any {
	switch apiVersion + " " + kind {
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "rbac.authorization.k8s.io/v1 Role":
		return &rbacv1.Role{}
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		return &rbacv1.RoleBinding{}
	}
	return nil
}

// checkIdentity decodes such an object strictly: a misspelt field is found
// before a cluster sees it.
func checkIdentity(d document, h header, object any) error {
	strict, err := kjson.UnmarshalStrict(d.json, object)
	if err != nil {
		return inYAMLTerms(err)
	}
	if err := errors.Join(strict...); err != nil {
		return err
	}
	if h.Metadata.Namespace != "" && h.Metadata.Namespace != Namespace {
		return fmt.Errorf("metadata.namespace: %q: the local platform has only %q", h.Metadata.Namespace, Namespace)
	}
	return nil
}
