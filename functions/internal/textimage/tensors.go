package textimage

import (
	"sync"

	"github.com/modelserveai/modelserve/codec/imaging"
)

// Tensors lends memory for the inputs of a model, and takes it back. The zero
// value is ready.
type Tensors struct{ pool sync.Pool } // of *[]float32

// Get is memory of n values. They are of whatever image was there before: the
// caller writes each of them.
func (t *Tensors) Get(n int) *[]float32 {
	if b, ok := t.pool.Get().(*[]float32); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]float32, n)
	return &b
}

// Put takes memory back. Not after a run that failed, which may not have let go
// of it.
func (t *Tensors) Put(b *[]float32) { t.pool.Put(b) }

// Normalization is what the text models were trained behind: −1 to 1.
func Normalization() imaging.Normalization {
	return imaging.Normalization{Mean: [3]float32{0.5, 0.5, 0.5}, Std: [3]float32{0.5, 0.5, 0.5}}
}
