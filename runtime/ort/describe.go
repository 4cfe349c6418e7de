package ort

/*
#include "bridge.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Bounds on what a model may declare, far above any real one.
const (
	maxPorts    = 4096
	maxRank     = 64
	maxMetadata = 4096 // entries
)

// describe reads the signature and prepares the names that runs pass. Outputs
// that the protocol cannot carry are left out where another remains.
func (s *Session) describe() error {
	s.names = map[string]*C.char{}
	s.inputs, s.outputs = map[string]port{}, map[string]port{}
	var faults []error
	for _, list := range []C.int{C.MS_INPUT, C.MS_OPTIONAL, C.MS_OUTPUT} {
		var count C.size_t
		if err := s.lib.check(C.ms_ports(s.lib.api, s.ptr, list, &count)); err != nil {
			return fmt.Errorf("read signature: %w", err)
		}
		if count > maxPorts {
			return fmt.Errorf("read signature: %d inputs or outputs; at most %d are served", count, maxPorts)
		}
		for i := range int(count) {
			spec, err := s.port(list, i)
			switch {
			case err == nil:
				s.add(list, spec)
			case list == C.MS_OUTPUT:
				s.left = append(s.left, err)
			default:
				faults = append(faults, err)
			}
		}
	}
	if len(s.allOutputs) == 0 {
		faults = append(faults, s.left...)
	}
	return errors.Join(faults...)
}

func (s *Session) add(list C.int, spec infer.TensorSpec) {
	if s.names[spec.Name] == nil {
		s.names[spec.Name] = C.CString(spec.Name)
	}
	p := port{name: s.names[spec.Name], dataType: spec.DataType, element: elementOf(spec.DataType)}
	if list == C.MS_OUTPUT {
		s.signature.Outputs = append(s.signature.Outputs, spec)
		s.unknown = append(s.unknown, spec.Shape == nil)
		s.outputs[spec.Name] = p
		s.allOutputs = append(s.allOutputs, spec.Name)
		return
	}
	spec.Optional = list == C.MS_OPTIONAL
	if !spec.Optional {
		s.required++
	}
	s.signature.Inputs = append(s.signature.Inputs, spec)
	p.optional = spec.Optional
	s.inputs[spec.Name] = p
}

// port reads the i-th input or output; its shape is nil where it declares none.
func (s *Session) port(list C.int, i int) (spec infer.TensorSpec, err error) {
	side := "input"
	if list == C.MS_OUTPUT {
		side = "output"
	}
	var p C.ms_port
	defer C.ms_port_free(s.lib.api, s.lib.allocator, &p)
	if err := s.lib.check(C.ms_port_read(s.lib.api, s.lib.allocator, s.ptr, list, C.size_t(i), &p)); err != nil {
		return spec, fmt.Errorf("read %s %d: %w", side, i, err)
	}
	spec.Name = C.GoString(p.name)
	if p.kind != C.ONNX_TYPE_TENSOR || p.tensor == nil {
		return spec, fmt.Errorf("%s %q is %s, and only tensors can be served%s",
			side, spec.Name, kindName(p.kind), hint(list, &p))
	}
	if spec.DataType, err = dataTypeOf(p.element); err != nil {
		return spec, fmt.Errorf("%s %q: %w", side, spec.Name, err)
	}
	if p.has_shape == 0 {
		return spec, nil
	}
	if p.rank > maxRank {
		return spec, fmt.Errorf("%s %q has %d dimensions; at most %d are served", side, spec.Name, p.rank, maxRank)
	}
	spec.Shape, err = s.portShape(&p)
	if err != nil {
		return spec, fmt.Errorf("read %s %q: %w", side, spec.Name, err)
	}
	return spec, nil
}

func (s *Session) portShape(p *C.ms_port) (shape []infer.Dim, err error) {
	shape = make([]infer.Dim, p.rank)
	if p.rank == 0 {
		return shape, nil
	}
	names := make([]*C.char, p.rank)
	dims := (*C.int64_t)(unsafe.Pointer(&shape[0]))
	if err := s.lib.check(C.ms_port_shape(s.lib.api, p, dims, &names[0])); err != nil {
		return nil, err
	}
	for i, d := range shape {
		// A symbol is a name for a size that a request chooses; some exporters
		// write 0 there.
		if d < 0 || (d == 0 && C.GoString(names[i]) != "") {
			shape[i] = infer.Dynamic
		}
	}
	return shape, nil
}

// hint is how to export a model without what cannot be served: a sequence of
// maps is what ZipMap gives, and only that.
func hint(list C.int, p *C.ms_port) string {
	if list == C.MS_OUTPUT && p.kind == C.ONNX_TYPE_SEQUENCE && p.of_kind == C.ONNX_TYPE_MAP {
		return `: export it without ZipMap (in skl2onnx, options={"zipmap": False})`
	}
	return ""
}

// Metadata reads the model's own key-value metadata.
func (s *Session) Metadata() (map[string]string, error) {
	s.running.RLock()
	defer s.running.RUnlock()
	if s.ptr == nil {
		return nil, ErrClosed
	}
	var m *C.OrtModelMetadata
	var keys **C.char
	var count C.int64_t
	err := s.lib.check(C.ms_metadata(s.lib.api, s.lib.allocator, s.ptr, &m, &keys, &count))
	defer func() { C.ms_metadata_free(s.lib.api, s.lib.allocator, m, keys, count) }()
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	if count > maxMetadata {
		return nil, fmt.Errorf("read metadata: %d entries; at most %d are kept", count, maxMetadata)
	}
	if count == 0 {
		return nil, nil // no metadata is an empty map
	}
	metadata := make(map[string]string, count)
	for _, key := range unsafe.Slice(keys, count) {
		var value *C.char
		if err := s.lib.check(C.ms_metadata_value(s.lib.api, s.lib.allocator, m, key, &value)); err != nil {
			return nil, fmt.Errorf("read metadata %q: %w", C.GoString(key), err)
		}
		metadata[C.GoString(key)] = C.GoString(value)
		C.ms_free(s.lib.api, s.lib.allocator, unsafe.Pointer(value))
	}
	return metadata, nil
}
