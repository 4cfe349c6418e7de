package model

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on a manifest. Real ones are far below: the largest shipped one, with
// a recogniser's alphabet in its metadata, has 80 kB.
const (
	MaxManifest = 4 << 20 // bytes
	maxFiles    = 1100
	maxPorts    = 4096 // inputs, and outputs
	maxRank     = 64
	maxText     = 1024 // bytes of a name
	maxFileName = 200  // bytes, so that the object's name fits a file system's
	maxFileSize = 1 << 40
	maxMetadata = 4096
	maxFeatures = 64
	maxExample  = 64 << 20 // elements of an example
)

// ParseManifest reads a model.json. It is strict: unknown and duplicate
// members, and whatever breaks a rule of the manifest, are errors that name
// the member.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", ManifestFile, len(data), MaxManifest)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	return &m, nil
}

// Marshal checks the manifest and writes it as model.json has it: the same
// manifest is always the same bytes.
func (m *Manifest) Marshal() ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestFile, err)
	}
	data, err := json.Marshal(m, json.Deterministic(true), json.FormatNilSliceAsNull(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestFile, err)
	}
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", ManifestFile, len(data), MaxManifest)
	}
	return append(data, '\n'), nil
}

// Check returns every rule that the manifest breaks.
func (m *Manifest) Check() error {
	var c Checker
	c.Require(m.Schema == Schema, "schema", "expected %d, got %d", Schema, m.Schema)
	if _, err := infer.ParseName(m.Name); err != nil {
		c.Require(false, "name", "%v", err)
	}
	c.Require(m.Version > 0 && m.Version <= infer.MaxVersion, "version", "expected 1 to %d, got %d", infer.MaxVersion, m.Version)
	c.Require(m.Platform == Platform, "platform", "expected %q, got %.100q", Platform, m.Platform)
	c.ports("inputs", m.Inputs)
	c.ports("outputs", m.Outputs)
	c.Require(len(m.Outputs) > 0, "outputs", "expected at least one")
	c.Require(m.MaxElements >= 0, "max_elements", "expected 0 or more, got %d", m.MaxElements)
	c.batchAxis(m)
	c.ragged(m)
	c.batching(m.Batching)
	c.cost(m.Cost)
	c.files(m.Files)
	c.Require(len(m.Metadata) <= maxMetadata, "metadata", "at most %d entries", maxMetadata)
	for key := range m.Metadata {
		c.Require(len(key) <= maxText, "metadata", "a key of %d bytes", len(key))
	}
	return c.Err()
}

func (c *Checker) ports(field string, specs []infer.TensorSpec) {
	if len(specs) > maxPorts {
		c.Require(false, field, "at most %d", maxPorts)
		return
	}
	seen := map[string]bool{}
	for i, s := range specs {
		at := field + "[" + strconv.Itoa(i) + "]"
		c.Require(s.Name != "" && len(s.Name) <= maxText, at+".name", "expected 1 to %d bytes, got %d", maxText, len(s.Name))
		c.Require(!seen[s.Name], at+".name", "%.100q is there twice", s.Name)
		seen[s.Name] = true
		c.Require(s.DataType.Valid(), at+".datatype", "%.100q is no data type", string(s.DataType))
		c.Require(len(s.Shape) <= maxRank, at+".shape", "%d dimensions, at most %d", len(s.Shape), maxRank)
		for j, d := range s.Shape {
			c.Require(d >= infer.Dynamic, at+".shape["+strconv.Itoa(j)+"]", "expected -1 or more, got %d", d)
		}
		c.Require(s.Example == nil || fitsExample(s), at+".example", "%v is no shape of a tensor of shape %v", s.Example, s.Shape)
		if field == "inputs" {
			c.Require(isSmall(s.ExampleShape()), at+".example", "%v has more than %d elements", s.ExampleShape(), maxExample)
			c.Require(s.ExampleData == nil || fitsData(s), at+".example_data", "%d bytes are no %s of shape %v",
				len(s.ExampleData), s.DataType, s.ExampleShape())
		}
		c.Require(fitsBounds(s), at+".min_shape", "%v and %v are no bounds of a tensor of shape %v", s.MinShape, s.MaxShape, s.Shape)
		c.Require(s.Min == nil || s.Max == nil || *s.Min <= *s.Max, at+".min", "is more than max")
	}
}

// fitsExample reports whether an input's example is one of its shapes.
func fitsExample(s infer.TensorSpec) bool {
	if len(s.Example) > maxRank || (s.Shape != nil && len(s.Example) != len(s.Shape)) {
		return false
	}
	for i, d := range s.Example {
		if d < 0 || (s.Shape != nil && s.Shape[i] != infer.Dynamic && s.Shape[i] != d) {
			return false
		}
	}
	return true
}

// isSmall reports whether a shape is small enough for an input of it to be made
// for a warm-up.
func isSmall(shape []int64) bool {
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > maxExample/max(n, 1) {
			return false
		}
		n *= d
	}
	return true
}

// fitsData reports whether an input's example data is that of its example.
func fitsData(s infer.TensorSpec) bool {
	spec := infer.Signature{Inputs: []infer.TensorSpec{{Name: s.Name, DataType: s.DataType, Shape: s.ExampleShape()}}}
	return spec.Validate(&infer.Request{Inputs: []infer.Tensor{{
		Name: s.Name, DataType: s.DataType, Shape: s.ExampleShape(), Data: s.ExampleData,
	}}}) == nil
}

// fitsBounds reports whether the bounds on an input's shape leave it one.
func fitsBounds(s infer.TensorSpec) bool {
	for _, bounds := range [][]int64{s.MinShape, s.MaxShape} {
		if bounds != nil && len(bounds) != len(s.Shape) {
			return false
		}
		for i, n := range bounds {
			if n < infer.Dynamic || s.Shape[i] != infer.Dynamic && n != infer.Dynamic && n != s.Shape[i] {
				return false
			}
		}
	}
	for i := range min(len(s.MinShape), len(s.MaxShape)) {
		if s.MaxShape[i] != infer.Dynamic && s.MinShape[i] > s.MaxShape[i] {
			return false
		}
	}
	return true
}

// batchAxis holds that every batched input has the axis.
func (c *Checker) batchAxis(m *Manifest) {
	if m.BatchAxis == nil {
		return
	}
	axis := *m.BatchAxis
	c.Require(axis >= 0 && axis < maxRank, "batch_axis", "expected 0 to %d, got %d", maxRank-1, axis)
	batched := false
	for i, s := range m.Inputs {
		if s.Unbatched {
			continue
		}
		batched = true
		c.Require(len(s.Shape) > axis, "inputs["+strconv.Itoa(i)+"]", "has no axis %d to batch along", axis)
	}
	c.Require(batched, "batch_axis", "no input is batched")
}

func (c *Checker) files(files []File) {
	if len(files) > maxFiles {
		c.Require(false, "files", "at most %d", maxFiles)
		return
	}
	paths, model := map[string]bool{}, false
	for i, f := range files {
		at := "files[" + strconv.Itoa(i) + "]"
		c.Require(plainName(f.Path, maxFileName), at+".path", "expected one plain file name, got %.100q", f.Path)
		c.Require(!paths[f.Path], at+".path", "%.100q is there twice", f.Path)
		paths[f.Path] = true
		c.Require(plainName(f.Object, maxFileName+50) && f.Object != ManifestFile, at+".object",
			"expected one plain file name, got %.100q", f.Object)
		c.Require(f.Size > 0 && f.Size <= maxFileSize, at+".size", "expected 1 to %d, got %d", int64(maxFileSize), f.Size)
		c.Require(IsSHA256(f.SHA256), at+".sha256", "expected 64 lower-case hexadecimal digits")
		if f.Optimized != nil {
			c.Require(f.Optimized.ONNXRuntime != "" && len(f.Optimized.ONNXRuntime) <= maxText &&
				f.Optimized.Arch != "" && len(f.Optimized.Arch) <= maxText &&
				len(f.Optimized.CPU) <= maxFeatures, at+".optimized", "expected a version, an architecture and at most %d features", maxFeatures)
		} else if f.Path == ModelFile {
			model = true
		}
	}
	c.Require(model, "files", "expected %s among them", ModelFile)
}

// plainName reports whether s is one element of a path and nothing else.
func plainName(s string, most int) bool {
	return s != "" && len(s) <= most && s[0] != '.' && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '/' || r == '\\' || r == 0x7f || r == '\uFFFD'
	})
}

// IsSHA256 reports whether s is a sha256 as manifests have it: 64 lower-case
// hexadecimal digits.
func IsSHA256(s string) bool {
	return len(s) == 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'f')
	})
}
