// Package contentdetect is the codec of the content-detect function: any bytes
// in, what kind of file they are out, by magika's model and with the decisions
// of its Python package (https://github.com/google/magika).
//
// It looks at the first and the last 4096 bytes only. It neither opens
// archives nor vouches that a file is well formed or harmless.
package contentdetect

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// Answer is what content-detect answers.
type Answer struct {
	Label       string  `json:"label"`     // magika's own name of the type
	MIMEType    string  `json:"mime_type"` // application/octet-stream or text/plain where there is none
	Group       string  `json:"group"`     // "code", "document", "image", …, "unknown"
	Description string  `json:"description"`
	IsText      bool    `json:"is_text"`
	Score       float64 `json:"score"` // of the model's first guess, 0 to 1; 1 where no model was asked
}

// Codec detects the type of content from its bytes.
type Codec struct {
	config *config
	types  map[string]contentType
}

// New makes the codec. It panics when the embedded tables do not fit together,
// which a test rules out.
func New() *Codec {
	cfg, types, err := load()
	if err != nil {
		panic(err)
	}
	return &Codec{config: cfg, types: types}
}

// Answer implements serve.Codec: the payload is the content itself, or
// {"content": SOURCE}.
func (c *Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	content := in.Body
	if payload.IsJSON(in) {
		var form struct {
			Content payload.Source `json:"content"`
		}
		err := payload.Decode(in, &form)
		if err != nil {
			return nil, err
		}
		if content, err = form.Content.Bytes(ctx, in); err != nil {
			return nil, err
		}
	}
	if len(content) == 0 {
		return c.describe(labelEmpty, 1), nil
	}
	values, ok := c.config.features(content)
	if !ok {
		return c.describe(c.fewBytes(content), 1), nil
	}
	guess, score, err := c.guess(ctx, values, model)
	if err != nil {
		return nil, err
	}
	return c.describe(c.decide(guess, score), score), nil
}

// fewBytes names content too short for the model, before or after stripping.
// Like the reference it looks at the first block alone, so a character that
// the block's end cuts is not text.
func (c *Codec) fewBytes(content []byte) string {
	if utf8.Valid(content[:min(len(content), c.config.BlockSize)]) {
		return labelText
	}
	return labelUnknown
}

// guess runs the model and returns its most likely label.
func (c *Codec) guess(ctx context.Context, values []int32, model serve.Runner) (label string, score float64, err error) {
	out, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("bytes", []int64{1, int64(len(values))}, values)})
	if err != nil {
		return "", 0, err
	}
	if len(out) != 1 || out[0].Elements() != int64(len(c.config.TargetLabels)) {
		return "", 0, problem.New(problem.ModelUnavailable,
			"the model of content-detect is not magika's standard_v3_3: expected one output of %d scores", len(c.config.TargetLabels))
	}
	scores, err := infer.Values[float32](&out[0])
	if err != nil {
		return "", 0, fmt.Errorf("read the model's answer: %w", err)
	}
	best := 0
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	return c.config.TargetLabels[best], float64(scores[best]), nil
}

// decide is magika's prediction mode "high confidence": a guess below its
// type's threshold becomes plain text or unknown.
func (c *Codec) decide(guess string, score float64) string {
	label, ok := c.config.Overwrite[guess]
	if !ok {
		label = guess
	}
	threshold, ok := c.config.Thresholds[guess]
	if !ok {
		threshold = c.config.MediumConfidenceThreshold
	}
	switch {
	case score >= threshold:
		return label
	case c.types[label].IsText:
		return labelText
	default:
		return labelUnknown
	}
}

func (c *Codec) describe(label string, score float64) *Answer {
	t := c.types[label]
	mimeType := "application/octet-stream"
	if t.IsText {
		mimeType = "text/plain"
	}
	return &Answer{
		Label:       label,
		MIMEType:    orElse(t.MIMEType, mimeType),
		Group:       orElse(t.Group, "unknown"),
		Description: orElse(t.Description, label),
		IsText:      t.IsText,
		Score:       score,
	}
}

func orElse(s *string, fallback string) string {
	if s == nil {
		return fallback
	}
	return *s
}
