package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/modelserveai/modelserve/internal/lifecycle"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// accountClients call at once, in so many short turns for one of the others': what is
// compared differs by less than a machine does from second to second.
const accountClients, accountTurns = 8, 8

// account holds the throughput of a function's server with its account of memory
// against the same server without one. The model is nearly nothing, so that what the
// account costs is as large a part of a call as it can be.
func (o *options) account(ctx context.Context, _ *platform, _ string) (rows []row, err error) {
	const width = 320
	for _, tc := range []struct {
		what   string
		binary bool
		rows   int64
	}{{"a line of text in binary, 184 kB", true, 3 * 48}, {"the same in JSON", false, 3 * 48}, {"a row in JSON", false, 1}} {
		tensor := infer.NewTensor("x", []int64{tc.rows, width}, make([]float32, tc.rows*width))
		r, err := o.accountFor(ctx, tc.what, tc.binary, tensor)
		if err != nil {
			return rows, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (o *options) accountFor(ctx context.Context, what string, binary bool, tensor infer.Tensor) (r row, err error) {
	const unbounded = -1
	var targets [2]*target // with the account, and without
	for i, inflight := range []int64{512 << 20, unbounded} {
		address, stop, err := serveMirror(ctx, serve.Limits{Inflight: inflight})
		if err != nil {
			return r, err
		}
		defer stop()
		if targets[i], err = v2(address, "mirror", binary, []infer.Tensor{tensor}); err != nil {
			return r, err
		}
		if _, err := targets[i].load(ctx, accountClients, o.turn); err != nil { // warm
			return r, err
		}
	}
	var rates [2][]float64
	for round := range accountTurns * o.rounds {
		for i := range targets {
			i = (i + round) % len(targets) // each comes first as often
			got, err := targets[i].load(ctx, accountClients, o.turn/accountTurns)
			if err != nil {
				return r, err
			}
			rates[i] = append(rates[i], got.rate)
		}
	}
	ratio := ratios(rates[0], rates[1])
	progress("account, %s: %.0f/s with, %.0f/s without", what, median(rates[0]), median(rates[1]))
	return row{
		fmt.Sprintf("throughput with the account of memory, %s (%.0f/s)", what, median(rates[0])),
		"the same server without one", spread(ratio), "≥ 0.97", rounded(ratio) >= 0.97,
	}, nil
}

// serveMirror serves a model that answers with what it is sent, in this process.
func serveMirror(ctx context.Context, limits serve.Limits) (address string, stop func(), err error) {
	handler, err := serve.New(serve.Config{Backend: mirror{}, Repository: mirror{}, Limits: limits})
	if err != nil {
		return "", nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := lifecycle.NewServer(handler, lifecycle.DefaultLimits())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(lifecycle.Listener(listener)); !errors.Is(err, http.ErrServerClosed) {
			progress("account: %v", err)
		}
	}()
	return listener.Addr().String(), func() {
		_ = server.Close() // nobody calls any more
		<-done
	}, nil
}

// mirror is a Backend and a Repository of one model.
type mirror struct{}

func (mirror) info() *serve.ModelInfo {
	spec := func(name string) []infer.TensorSpec {
		return []infer.TensorSpec{{Name: name, DataType: infer.FP32, Shape: []infer.Dim{infer.Dynamic, infer.Dynamic}}}
	}
	return &serve.ModelInfo{
		ModelStatus: serve.ModelStatus{Name: "mirror", Version: "1", State: serve.Ready},
		Versions:    []string{"1"}, Platform: "onnxruntime_onnx", Device: "cpu",
		Signature: infer.Signature{Inputs: spec("x"), Outputs: spec("y")},
	}
}

func (m mirror) Acquire(context.Context, string, string) (serve.Lease, error) { return m, nil }
func (m mirror) Info() *serve.ModelInfo                                       { return m.info() }
func (mirror) Release()                                                       {}

func (mirror) Run(_ context.Context, req *infer.Request) (*infer.Response, error) {
	y := req.Inputs[0]
	y.Name = "y"
	return &infer.Response{Outputs: []infer.Tensor{y}}, nil
}

func (m mirror) Model(context.Context, string, string) (*serve.ModelInfo, error) {
	return m.info(), nil
}

func (m mirror) Index(context.Context) ([]serve.ModelStatus, error) {
	return []serve.ModelStatus{m.info().ModelStatus}, nil
}
func (mirror) Load(context.Context, string) error   { return nil }
func (mirror) Unload(context.Context, string) error { return nil }
func (mirror) Stats(context.Context, string, string) ([]serve.ModelStats, error) {
	return nil, nil
}
