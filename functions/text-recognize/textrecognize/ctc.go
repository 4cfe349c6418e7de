package textrecognize

import (
	"strings"

	"github.com/modelserveai/modelserve/functions/internal/textimage"
	"github.com/modelserveai/modelserve/problem"
)

// alphabetKey is where a recogniser's own metadata holds its characters, one
// a line.
const alphabetKey = "character"

// alphabet is what each class of the network stands for: blank, then the
// characters, then the space.
type alphabet struct {
	source  string
	classes []string
}

// parseAlphabet splits the metadata. Nothing is trimmed: one of the characters
// is an ideographic space.
func parseAlphabet(source string) (*alphabet, error) {
	if source == "" {
		return nil, problem.New(problem.Internal, "the model has no metadata %q to read its answers by", alphabetKey)
	}
	characters := strings.Split(strings.TrimSuffix(source, "\n"), "\n")
	classes := make([]string, 0, len(characters)+2)
	classes = append(classes, "")
	classes = append(classes, characters...)
	return &alphabet{source: source, classes: append(classes, " ")}, nil
}

// decode reads one line's table of probabilities, steps × classes: the most
// probable class of each step, repeats merged, blanks dropped (best path
// decoding; Graves et al. 2006, "Connectionist Temporal Classification", 3.2).
// The score is the mean probability of the steps kept, 0 if none is.
func (a *alphabet) decode(p []float32) Line {
	var text strings.Builder
	last, kept, sum := 0, 0, 0.0
	for n := len(a.classes); len(p) >= n; p = p[n:] {
		class, probability := best(p[:n])
		if class != 0 && class != last {
			text.WriteString(a.classes[class])
			sum += textimage.Score(probability)
			kept++
		}
		last = class
	}
	if kept == 0 {
		return Line{}
	}
	return Line{Text: text.String(), Score: textimage.Score(sum / float64(kept))}
}

// best is the first of the largest values. It looks at eight at a time: a step
// has some 18,000 classes, and few beat the best so far.
func best(p []float32) (index int, value float32) {
	value = p[0]
	i := 0
	for ; i+8 <= len(p); i += 8 {
		v := (*[8]float32)(p[i:])
		if m := max(max(v[0], v[1], v[2], v[3]), max(v[4], v[5], v[6], v[7])); m > value {
			value = m
			for k := range v {
				if v[k] == m {
					index = i + k
					break
				}
			}
		}
	}
	for ; i < len(p); i++ {
		if p[i] > value {
			index, value = i, p[i]
		}
	}
	return index, value
}
