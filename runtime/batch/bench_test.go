package batch

import (
	"context"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/runtime/infer"
)

// instant answers with its input.
type instant struct{}

func (instant) Run(_ context.Context, held memory.Holder, inputs []infer.Tensor, _ []string) ([]infer.Tensor, func(), error) {
	return inputs, func() {}, nil
}

// BenchmarkAlone is what the scheduler itself costs a request that finds a free
// slot, against the same call without it.
func BenchmarkAlone(b *testing.B) {
	req := request("tenant", 1)
	wanted := []string{"y"}
	b.Run("scheduled", func(b *testing.B) {
		s, err := New(Config{Slots: 2, Queue: 8})
		if err != nil {
			b.Fatal(err)
		}
		q := s.NewQueue(Model{Name: "instant", Signature: doubling(), Runner: instant{}})
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := q.Run(ctx, req, wanted); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		var r Runner = instant{}
		for b.Loop() {
			if _, _, err := r.Run(b.Context(), memory.Unbounded{}, req.Inputs, wanted); err != nil {
				b.Fatal(err)
			}
		}
	})
}
