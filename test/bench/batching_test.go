package main

import (
	"math/rand/v2"
	"testing"
)

// Of rivals that do not differ none is better: what noise lends to the luckiest is
// not held against ours.
func TestAgainstBestIsNotTheLuckiest(t *testing.T) {
	t.Parallel()
	noise := rand.New(rand.NewPCG(1, 2))
	draw := func() []float64 {
		rates := make([]float64, 5)
		for i := range rates {
			rates[i] = 100 * (1 + 0.1*noise.NormFloat64())
		}
		return rates
	}
	var all []float64
	for range 500 {
		fixed := [][]float64{draw(), draw(), draw(), draw(), draw(), draw()}
		all = append(all, againstBest(draw(), fixed)...)
	}
	if m := median(all); m < 0.98 || m > 1.02 {
		t.Errorf("equal contestants: ratio %.3f, expected about 1", m)
	}
	better := draw()
	for i := range better {
		better[i] = 200
	}
	if r := median(againstBest(draw(), [][]float64{draw(), better, draw()})); r > 0.6 {
		t.Errorf("against one twice as good: ratio %.3f", r)
	}
}
