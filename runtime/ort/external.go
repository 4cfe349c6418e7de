package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on an ONNX file's structure.
const (
	maxGraphDepth    = 32   // graphs inside attributes of nodes of graphs …
	maxExternalFiles = 1024 // different ones
	maxFileName      = 255
)

// ErrNotONNX is wrapped by the errors of a file that is no ONNX model.
var ErrNotONNX = errors.New("not an ONNX model")

// errFields is of a file whose fields the protobuf library cannot read, whose own
// errors are about its wire format.
var errFields = fmt.Errorf("%w: it is of another format, or was cut short", ErrNotONNX)

// ExternalData lists the files that the ONNX model at path keeps weights in,
// sorted, each a plain file name in the model's own folder. A model that names
// a file anywhere else is refused: ONNX Runtime would open it, and some
// locations mean memory of this process to it.
func ExternalData(path string) ([]string, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(data) //nolint:errcheck // a mapping that mapFile made
	return ScanExternalData(data)
}

// ScanExternalData is ExternalData over the bytes of an ONNX model.
func ScanExternalData(model []byte) ([]string, error) {
	s := externalScan{files: map[string]struct{}{}}
	if err := s.message(model, modelProto, 0); err != nil {
		return nil, err
	}
	if !s.graph {
		return nil, fmt.Errorf("%w: it holds no graph", ErrNotONNX)
	}
	files := make([]string, 0, len(s.files))
	for f := range s.files {
		files = append(files, f)
	}
	slices.Sort(files)
	return files, nil
}

// checkExternalData refuses a model whose external data is not all there.
func checkExternalData(path string) error {
	files, err := ExternalData(path)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := os.Stat(filepath.Join(filepath.Dir(path), f))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("its external data %q is missing: it belongs beside the model", f)
		case err != nil:
			return fmt.Errorf("its external data %q: %w", f, err)
		case !info.Mode().IsRegular():
			return fmt.Errorf("its external data %q is not a file", f)
		}
	}
	return nil
}

// kind is one of the messages of onnx.proto that lead to tensors.
type protoKind int

const (
	modelProto protoKind = iota
	graphProto
	nodeProto
	attributeProto
	functionProto
	trainingProto
	sparseProto
	tensorProto
	entryProto
)

// children names the fields of each message that may hold tensors further in
// (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
func children(kind protoKind, field int) (protoKind, bool) {
	type edge struct {
		kind  protoKind
		field int
	}
	switch (edge{kind, field}) {
	case edge{modelProto, 7}, edge{attributeProto, 6}, edge{attributeProto, 11},
		edge{trainingProto, 1}, edge{trainingProto, 2}:
		return graphProto, true
	case edge{modelProto, 20}:
		return trainingProto, true
	case edge{modelProto, 25}:
		return functionProto, true
	case edge{graphProto, 1}, edge{functionProto, 7}:
		return nodeProto, true
	case edge{nodeProto, 5}, edge{functionProto, 11}:
		return attributeProto, true
	case edge{graphProto, 5}, edge{attributeProto, 5}, edge{attributeProto, 10},
		edge{sparseProto, 1}, edge{sparseProto, 2}:
		return tensorProto, true
	case edge{graphProto, 15}, edge{attributeProto, 22}, edge{attributeProto, 23}:
		return sparseProto, true
	case edge{tensorProto, 13}:
		return entryProto, true
	}
	return 0, false
}

type externalScan struct {
	files map[string]struct{}
	graph bool
}

// message walks one message's fields. Values are looked at in place, so that
// weights cost nothing but being stepped over.
func (s *externalScan) message(data []byte, kind protoKind, depth int) error {
	if depth > 4*maxGraphDepth {
		return fmt.Errorf("%w: graphs are nested beyond %d", ErrNotONNX, maxGraphDepth)
	}
	if kind == entryProto {
		return s.entry(data)
	}
	return each(data, func(field int, value []byte) error {
		child, follow := children(kind, field)
		if !follow {
			return nil
		}
		s.graph = s.graph || child == graphProto
		return s.message(value, child, depth+1)
	})
}

// entry reads one key and value of a tensor's external_data.
func (s *externalScan) entry(data []byte) error {
	var key, value string
	err := each(data, func(field int, text []byte) error {
		switch field {
		case 1:
			key = string(text)
		case 2:
			value = string(text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if key != "location" {
		return nil
	}
	if !plainName(value) {
		return fmt.Errorf("external data %.100q: expected the name of a file beside the model, without a folder", value)
	}
	if len(s.files) >= maxExternalFiles {
		return fmt.Errorf("external data in more than %d files", maxExternalFiles)
	}
	s.files[value] = struct{}{}
	return nil
}

// plainName reports whether name is one element of a path and nothing else.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxFileName &&
		!strings.ContainsAny(name, "/\\\x00")
}

// each calls f with the fields of a message that are bytes, in their order.
func each(data []byte, f func(field int, value []byte) error) error {
	for len(data) > 0 {
		field, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errFields
		}
		data = data[n:]
		if wire != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, wire, data); n < 0 {
				return errFields
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return errFields
		}
		data = data[n:]
		if err := f(int(field), value); err != nil {
			return err
		}
	}
	return nil
}
