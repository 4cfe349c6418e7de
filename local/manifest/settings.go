package manifest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	serving "knative.dev/serving/pkg/apis/config"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	kjson "sigs.k8s.io/json"
)

// settings are the ConfigMaps and Secrets that the Services' environments
// come from, by name.
type settings struct {
	maps, secrets map[string]map[string]string
}

// knativeNamespace holds the settings of Knative itself.
const knativeNamespace = "knative-serving"

// add takes a ConfigMap or a Secret: one of Knative's own goes into config, any
// other is for environments.
func (s settings) add(d document, h header, config *serving.Config) error {
	var object struct {
		header
		Data       map[string]string `json:"data"`
		StringData map[string]string `json:"stringData"`
		BinaryData map[string][]byte `json:"binaryData"` // of which no environment has any
		Metadata   any               `json:"metadata"`
		Type       string            `json:"type"`
		Immutable  bool              `json:"immutable"`
	}
	if faults := misshapen(d.json, &object); len(faults) > 0 {
		return errors.Join(faults...)
	}
	strict, err := kjson.UnmarshalStrict(d.json, &object)
	if err != nil {
		return inYAMLTerms(err)
	}
	if err := errors.Join(strict...); err != nil {
		return err
	}
	if h.Metadata.Namespace == knativeNamespace {
		return knativeSettings(h, object.Data, config)
	}
	if h.Metadata.Namespace != "" && h.Metadata.Namespace != Namespace {
		return fmt.Errorf("metadata.namespace: %q: the local platform has only %q", h.Metadata.Namespace, Namespace)
	}
	if h.Kind == "ConfigMap" {
		s.maps[h.Metadata.Name] = object.Data
		return nil
	}
	values := map[string]string{}
	for k, v := range object.Data {
		decoded, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return fmt.Errorf("data.%s: not base64", k)
		}
		values[k] = string(decoded)
	}
	for k, v := range object.StringData {
		values[k] = v
	}
	s.secrets[h.Metadata.Name] = values
	return nil
}

func knativeSettings(h header, data map[string]string, config *serving.Config) (err error) {
	switch h.Metadata.Name {
	case autoscaler.ConfigName:
		config.Autoscaler, err = autoscaler.NewConfigFromMap(data)
	case serving.DefaultsConfigName:
		config.Defaults, err = serving.NewDefaultsConfigFromMap(data)
	default:
		err = fmt.Errorf("not supported by the local platform; of Knative's settings it reads %s and %s",
			autoscaler.ConfigName, serving.DefaultsConfigName)
	}
	return err
}

// environment resolves a container's variables in Kubernetes' order: envFrom
// first, then env, later ones replacing earlier ones.
func (s settings) environment(c *corev1.Container) ([]corev1.EnvVar, error) {
	var env []corev1.EnvVar
	var faults []error
	for i, from := range c.EnvFrom {
		kind, name, optional, objects := "configMapRef", "", false, s.maps
		switch {
		case from.ConfigMapRef != nil:
			name, optional = from.ConfigMapRef.Name, isTrue(from.ConfigMapRef.Optional)
		case from.SecretRef != nil:
			kind, name, optional, objects = "secretRef", from.SecretRef.Name, isTrue(from.SecretRef.Optional), s.secrets
		}
		values, ok := objects[name]
		if !ok && !optional {
			faults = append(faults, fmt.Errorf("spec.template.spec.containers[0].envFrom[%d].%s: no %q among the manifests", i, kind, name))
		}
		for _, k := range sortedKeys(values) {
			env = append(env, corev1.EnvVar{Name: from.Prefix + k, Value: values[k]})
		}
	}
	for i, e := range c.Env {
		field := fmt.Sprintf("spec.template.spec.containers[0].env[%d]", i)
		if e.ValueFrom == nil {
			env = append(env, e)
			continue
		}
		value, found, err := s.valueFrom(e.ValueFrom)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.valueFrom: %w", field, err))
		} else if found {
			env = append(env, corev1.EnvVar{Name: e.Name, Value: value})
		}
	}
	for _, e := range env {
		if !utf8.ValidString(e.Value) || containsNUL(e.Value) {
			faults = append(faults, fmt.Errorf("variable %s: its value is no text", e.Name))
		}
	}
	return env, errors.Join(faults...)
}

func (s settings) valueFrom(from *corev1.EnvVarSource) (value string, found bool, err error) {
	var objects map[string]map[string]string
	var name, key string
	var optional bool
	switch {
	case from.ConfigMapKeyRef != nil:
		objects, name, key, optional = s.maps, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, isTrue(from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		objects, name, key, optional = s.secrets, from.SecretKeyRef.Name, from.SecretKeyRef.Key, isTrue(from.SecretKeyRef.Optional)
	}
	value, found = objects[name][key]
	if !found && !optional {
		return "", false, fmt.Errorf("no %q with a key %q among the manifests", name, key)
	}
	return value, found, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

func containsNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}
