package infer_test

import (
	"strconv"
	"testing"
)

// parse is what strconv makes of a number.
func parse(t *testing.T, text string, bits int) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
