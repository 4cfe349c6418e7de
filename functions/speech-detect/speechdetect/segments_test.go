package speechdetect

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// probs repeats values: n1, p1, n2, p2, …
func probs(pairs ...float32) (found []float32) {
	for i := 0; i < len(pairs); i += 2 {
		for range int(pairs[i]) {
			found = append(found, pairs[i+1])
		}
	}
	return found
}

// The wanted values were computed with silero_vad 6.2.3's
// get_speech_timestamps_from_probs.
func TestSegments(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		probabilities []float32
		length        int64 // 0: whole windows
		want          []span
	}{
		"nothing":                      {nil, 0, nil},
		"silence":                      {probs(50, 0.1), 0, nil},
		"speech throughout":            {probs(20, 0.9), 0, []span{{0, 10240, 0.9}}},
		"too short":                    {probs(5, 0.1, 7, 0.9, 20, 0.1), 0, nil},
		"just long enough":             {probs(5, 0.1, 8, 0.9, 20, 0.1), 0, []span{{2080, 7136, 0.9}}},
		"between the thresholds":       {probs(5, 0.1, 10, 0.5, 10, 0.36, 10, 0.1), 0, []span{{2080, 13280, 0.43}}},
		"a gap too short to part":      {probs(5, 0.1, 10, 0.9, 3, 0.1, 10, 0.9, 10, 0), 0, []span{{2080, 14816, (20*0.9 + 3*0.1) / 23}}},
		"a gap that parts":             {probs(5, 0.1, 10, 0.9, 5, 0.1, 10, 0.7, 10, 0), 0, []span{{2080, 8160, 0.9}, {9760, 15840, 0.7}}},
		"to the end, in a part window": {probs(5, 0.1, 10, 0.9), 7500, []span{{2080, 7500, 0.9}}},
		"too short at the end":         {probs(5, 0.1, 7, 0.9), 0, nil},
		"at the threshold":             {probs(10, 0.5), 0, []span{{0, 5120, 0.5}}},
		"just below it":                {probs(10, 0.49999), 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			length := tc.length
			if length == 0 {
				length = int64(len(tc.probabilities)) * windowSamples
			}
			got := segments(tc.probabilities, length)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(span{}), cmpopts.EquateApprox(0, 1e-6)); diff != "" {
				t.Errorf("segments (-want +got):\n%s", diff)
			}
		})
	}
}
