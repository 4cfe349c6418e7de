package manifest_test

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
)

// decided holds that the gateway follows the operator's file where it is mounted: from
// an optional ConfigMap, and as a whole, since what a subPath mounts never changes.
func (b *built) decided() error {
	for _, s := range b.services {
		if s.Name != "gateway" {
			continue
		}
		template := s.Spec.Template.Spec
		for _, c := range template.Containers {
			for _, e := range c.Env {
				if e.Name == "MODELSERVE_GATEWAY_FILE" && mountsFile(template.Volumes, c.VolumeMounts, e.Value) {
					return nil
				}
			}
		}
		return fmt.Errorf("Service %s: no ConfigMap modelserve-gateway, optional and whole, is mounted where MODELSERVE_GATEWAY_FILE says", s.Name)
	}
	return nil
}

func mountsFile(volumes []corev1.Volume, mounts []corev1.VolumeMount, file string) bool {
	for _, v := range volumes {
		if v.ConfigMap == nil || v.ConfigMap.Name != "modelserve-gateway" || v.ConfigMap.Optional == nil || !*v.ConfigMap.Optional || len(v.ConfigMap.Items) > 0 {
			continue
		}
		for _, m := range mounts {
			if m.Name == v.Name && m.SubPath == "" && m.MountPath == path.Dir(file) && path.Base(file) == "gateway.yaml" {
				return true
			}
		}
	}
	return false
}
