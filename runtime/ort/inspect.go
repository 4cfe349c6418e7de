package ort

import (
	"errors"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// Inspection is what a model file tells of itself.
type Inspection struct {
	// Signature is as the model declares it, without a batch axis:
	// FindBatchAxis proves one. An output without a declared shape has a nil
	// Shape.
	Signature infer.Signature

	Metadata     map[string]string
	ExternalData []string // names of the files beside the model, sorted
}

// Inspect loads a model and reads its signature. What cannot be served is
// refused as in Open.
func (l *Library) Inspect(path string) (*Inspection, error) {
	external, err := ExternalData(path)
	if err != nil {
		return nil, err
	}
	s, err := l.Open(path, Options{Optimization: Basic})
	if err != nil {
		return nil, err
	}
	metadata, err := s.Metadata()
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	return &Inspection{Signature: s.signature, Metadata: metadata, ExternalData: external}, nil
}
