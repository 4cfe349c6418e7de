package compile

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Unstructured are the objects as they are applied: without a status, and without what
// the API server sets.
func (o *Objects) Unstructured() ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	add := func(typed any) error {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
		if err != nil {
			return fmt.Errorf("convert an object: %w", err)
		}
		delete(content, "status")
		unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
		all = append(all, &unstructured.Unstructured{Object: content})
		return nil
	}
	for _, s := range o.Sequences {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	for _, p := range o.Parallels {
		if err := add(p); err != nil {
			return nil, err
		}
	}
	for _, s := range o.Subscriptions {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return all, nil
}
