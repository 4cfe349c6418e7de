package memory

import (
	"testing"
	"time"
)

// BenchmarkCall is what the account costs a call that is charged ten times, by several at
// once.
func BenchmarkCall(b *testing.B) {
	a := New(1<<40, time.Second)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := a.Open("a tenant")
			for range 10 {
				if err := c.Take(b.Context(), 1000); err != nil {
					b.Fatal(err)
				}
			}
			c.End()
		}
	})
}
