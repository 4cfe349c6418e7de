package audio_test

import (
	"fmt"
	"os"

	"github.com/modelserveai/modelserve/codec/audio"
)

// A model of speech takes 16 kHz mono, whatever was recorded.
func ExampleParseWAV() {
	file, err := os.ReadFile("../../functions/speech-detect/testdata/stereo-8k.wav")
	if err != nil {
		fmt.Println(err)
		return
	}
	recording, err := audio.ParseWAV("audio", file)
	if err != nil {
		fmt.Println(err) // a problem: the codec returns it as it is
		return
	}
	const rate = 16000
	mono := audio.NewResampler(recording, recording.Rate, rate, recording.Frames)
	window := make([]float32, 512)
	n, err := audio.ReadFull(mono, window)
	fmt.Println(recording.Channels, "channels,", recording.Rate, "Hz;", n, "samples at 16 kHz,", err)
	// Output: 2 channels, 8000 Hz; 512 samples at 16 kHz, <nil>
}
