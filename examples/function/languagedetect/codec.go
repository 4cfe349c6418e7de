// Package languagedetect is the codec of language-detect: a text in, its language
// out.
package languagedetect

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/modelserveai/modelserve/codec/payload"
	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// columns is how wide the model's input is: [1, columns].
const columns = 512

// Answer is what a call is answered with, as JSON.
type Answer struct {
	Language string  `json:"language"` // ISO 639-1
	Score    float32 `json:"score"`    // its probability, 0 to 1
}

// Codec implements serve.Codec.
type Codec struct{}

// Answer takes text, or {"text": "…"} as application/json.
func (Codec) Answer(ctx context.Context, in serve.Payload, model serve.Runner) (any, error) {
	text, field := string(in.Body), "body"
	if payload.IsJSON(in) {
		var form struct {
			Text string `json:"text"`
		}
		if err := payload.Decode(in, &form); err != nil {
			return nil, err
		}
		text, field = form.Text, "text"
	}
	vector := features(text)
	if vector == nil {
		return nil, problem.Invalid(field, "has no letters; expected text")
	}
	out, err := model.Run(ctx, []infer.Tensor{infer.NewTensor("features", []int64{1, columns}, vector)})
	if err != nil {
		return nil, err
	}
	scores, err := infer.Values[float32](&out[0])
	if err != nil {
		return nil, fmt.Errorf("read the model's answer: %w", err)
	}
	languages := strings.Split(model.Info().Metadata["languages"], ",")
	if len(languages) != len(scores) {
		return nil, problem.New(problem.ModelUnavailable, "the model names %d languages and scores %d: train.py writes both", len(languages), len(scores))
	}
	best := slices.Index(scores, slices.Max(scores))
	return Answer{languages[best], scores[best]}, nil
}

// features counts groups of three letters as train.py does, as a vector of
// length 1; nil of a text without letters.
func features(text string) []float32 {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	if len(words) == 0 {
		return nil
	}
	letters := []rune(" " + strings.Join(words, " ") + " ")
	counts := make([]float32, columns)
	for i := range len(letters) - 2 {
		hash := fnv.New32a()
		hash.Write([]byte(string(letters[i : i+3])))
		counts[hash.Sum32()%columns]++
	}
	var squares float64
	for _, n := range counts {
		squares += float64(n * n)
	}
	for i := range counts {
		counts[i] /= float32(math.Sqrt(squares))
	}
	return counts
}
