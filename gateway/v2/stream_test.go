package v2

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/call"
	"github.com/modelserveai/modelserve/gateway/door"
	"github.com/modelserveai/modelserve/gateway/internal/grpcwire"
	"github.com/modelserveai/modelserve/gateway/internal/room"
	rpc "github.com/modelserveai/modelserve/runtime/infer/inferpb/inferpbconnect"
)

// TestAStreamThatIsRefusedLeavesNothing holds that a stream which is refused at its
// first message ends all that it began: what is left would hang the bubble.
func TestAStreamThatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refused", Help: "."}, []string{"code"})
		s := New(Config{
			MaxMessage: 1 << 10, StreamInFlight: 1, Room: room.New(1 << 20),
			Door: door.New(door.Config{Authenticator: auth.Chain{}, Refused: refused}),
		})
		p, ok := s.Procedure(rpc.GRPCInferenceServiceModelStreamInferProcedure)
		if !ok || !p.Up {
			t.Fatal("there is no stream")
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("\x00\x00\x00\x00\x00")) // an empty message
		r.Header.Set("Content-Type", "application/grpc")                                                                  // and no credential
		rec := httptest.NewRecorder()
		if err := p.Serve(&call.Call{Header: r.Header, Log: &call.Entry{}}, rec, r); err != nil {
			t.Fatal(err)
		}
		if got := rec.Result().Trailer.Get("Grpc-Status"); got != "16" {
			t.Errorf("status %q, want 16 (unauthenticated); %v", got, rec.Result().Header)
		}
	})
}

// TestACallThatPanicsGivesItsRoomBack holds that what a call holds of the room for all
// does not stay taken when its answer panics.
func TestACallThatPanicsGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	all := room.New(1 << 20)
	s := New(Config{MaxMessage: 1 << 10, StreamInFlight: 1, Room: all})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("\x00\x00\x00\x00\x01a"))
	r.Header.Set("Content-Type", "application/grpc")
	fails := func(ctx context.Context, _ *call.Call, stream *grpcwire.Stream) error {
		x, err := stream.Only()
		if err == nil {
			_, _, _, err = x.Begin()
		}
		if err == nil {
			err = x.Read(ctx)
		}
		if err != nil || all.Of("").TryAcquire(all.Of("").Largest()) {
			t.Errorf("the message is not in the room: %v", err)
		}
		panic("as it does")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_ = s.serveProcedure(fails, false, &call.Call{Header: r.Header, Log: &call.Entry{}}, httptest.NewRecorder(), r)
	}()
	if !all.Of("").TryAcquire(all.Of("").Largest()) {
		t.Error("not all came back")
	}
}
