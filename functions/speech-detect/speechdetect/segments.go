package speechdetect

// The defaults of get_speech_timestamps, in samples at 16 kHz.
const (
	enter      = 0.5            // a window this likely begins speech
	leave      = enter - 0.15   // a window less likely may end it
	minSpeech  = rate * 1 / 4   // shorter speech is dropped: 250 ms
	minSilence = rate * 1 / 10  // shorter silence does not part speech: 100 ms
	pad        = rate * 3 / 100 // added on both sides: 30 ms
)

// span is a stretch of speech in samples at 16 kHz.
type span struct {
	start, end int64
	score      float64
}

// segments turns the windows' probabilities into stretches of speech, as
// get_speech_timestamps of silero-vad 6.2.3 does with its defaults: two
// thresholds with hysteresis, minimum lengths, and padding that never makes
// neighbours overlap. length is that of the recording.
func segments(probabilities []float32, length int64) []span {
	var found []span
	var (
		speaking bool
		start    int64 // of the speech, while speaking
		quiet    int64 // since when it was quiet; 0 when it is not
	)
	for i, p := range probabilities {
		at := int64(i) * windowSamples
		switch p := float64(p); {
		case p >= enter:
			quiet = 0
			if !speaking {
				speaking, start = true, at
			}
		case p < leave && speaking:
			if quiet == 0 {
				quiet = at
			}
			if at-quiet < minSilence {
				continue
			}
			if quiet-start > minSpeech {
				found = append(found, span{start: start, end: quiet})
			}
			speaking, quiet = false, 0
		}
	}
	if speaking && length-start > minSpeech {
		found = append(found, span{start: start, end: length})
	}
	for i := range found {
		found[i].score = mean(probabilities, found[i])
	}
	widen(found, length)
	return found
}

// widen pads each stretch; neighbours too close for it share what is between.
func widen(found []span, length int64) {
	for i := range found {
		if i == 0 {
			found[i].start = max(0, found[i].start-pad)
		}
		if i == len(found)-1 {
			found[i].end = min(length, found[i].end+pad)
			break
		}
		next := &found[i+1]
		half := int64(pad)
		if silence := next.start - found[i].end; silence < 2*pad {
			half = silence / 2
		}
		found[i].end = min(length, found[i].end+half)
		next.start = max(0, next.start-half)
	}
}

// mean is the mean probability of a stretch's windows before it was padded.
func mean(probabilities []float32, s span) float64 {
	first := s.start / windowSamples
	last := min((s.end+windowSamples-1)/windowSamples, int64(len(probabilities)))
	var sum float64
	for _, p := range probabilities[first:last] {
		sum += float64(p)
	}
	return sum / float64(last-first)
}
