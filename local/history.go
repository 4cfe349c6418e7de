package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	corev1 "k8s.io/api/core/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/local/manifest"
)

// keptRevisions bounds what is remembered of one Service.
const keptRevisions = 20

// history remembers the revisions that each Service has had, so that traffic
// can go to an old one by name, also after a restart. An old revision runs with
// its own template and environment; its program is built from the source as it
// is, for the source here is what an image is in a cluster.
type history struct {
	path     string
	services map[string]*past
	dirty    bool
}

type past struct {
	Next      int      `json:"next"`
	Revisions []record `json:"revisions"` // oldest first
}

// record is one revision.
type record struct {
	Name        string                         `json:"name"`
	Fingerprint string                         `json:"fingerprint"`
	Template    servingv1.RevisionTemplateSpec `json:"template"`
	Env         []corev1.EnvVar                `json:"env"`
}

func openHistory(path string) (*history, error) {
	h := &history{path: path, services: map[string]*past{}}
	text, err := regular.Read(path, maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	} else if err != nil {
		return nil, fmt.Errorf("read revisions: %w", err)
	}
	if err := json.Unmarshal(text, &h.services); err != nil {
		return nil, fmt.Errorf("read revisions: %s: %w; remove it to begin their numbers anew", path, err)
	}
	return h, nil
}

func (h *history) save() error {
	if !h.dirty {
		return nil
	}
	if err := writeJSON(h.path, h.services); err != nil {
		return fmt.Errorf("remember revisions: %w", err)
	}
	h.dirty = false
	return nil
}

// revision is the one that a manifest asks for: the newest when nothing of it
// has changed, else a new one.
func (h *history) revision(m manifest.Service) (record, error) {
	p := h.services[m.Name]
	if p == nil {
		p = &past{Next: 1}
		h.services[m.Name] = p
	}
	template := *m.Object.Spec.Template.DeepCopy()
	sum, err := fingerprint(template, m.Env)
	if err != nil {
		return record{}, err
	}
	if n := len(p.Revisions); n > 0 && p.Revisions[n-1].Fingerprint == sum {
		return p.Revisions[n-1], nil
	}
	name := template.Name
	if name == "" {
		name = revisionName(m.Name, p.Next)
	} else if old := h.find(m.Name, name); old != nil {
		return record{}, fmt.Errorf("spec.template.metadata.name: revision %q is there with another template; a revision never changes", name)
	}
	p.Next++
	p.Revisions = append(p.Revisions, record{Name: name, Fingerprint: sum, Template: template, Env: m.Env})
	if len(p.Revisions) > keptRevisions {
		p.Revisions = p.Revisions[len(p.Revisions)-keptRevisions:]
	}
	h.dirty = true
	return p.Revisions[len(p.Revisions)-1], nil
}

func (h *history) find(service, name string) *record {
	if p := h.services[service]; p != nil {
		for i := range p.Revisions {
			if p.Revisions[i].Name == name {
				return &p.Revisions[i]
			}
		}
	}
	return nil
}

func (h *history) names(service string) []string {
	var names []string
	for _, r := range h.services[service].Revisions {
		names = append(names, r.Name)
	}
	return names
}
