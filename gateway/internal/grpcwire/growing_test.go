package grpcwire

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/modelserveai/modelserve/problem"
)

// TestAMessageTakesRoomAsItComes holds what a message has of the room that is held while
// its client sends no more of it: at most four times what came, and nothing for its first
// 16 KiB, whatever it announces and would decompress to.
func TestAMessageTakesRoomAsItComes(t *testing.T) {
	t.Parallel()
	const kib, most = 1 << 10, 64 << 20
	random := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // it cannot fail
	bomb := compressed(t, "gzip", make([]byte, most/2))
	for name, tc := range map[string]struct {
		encoding   string
		message    []byte
		sent, room int64
	}{
		"100 bytes":                     {"", random, 100, 0},
		"16 KiB":                        {"", random, 16 * kib, 65 * kib},
		"17 KiB":                        {"", random, 17 * kib, 65 * kib},
		"1 MiB":                         {"", random, 1 << 20, 1025 * kib},
		"compressed, 100 bytes":         {"gzip", compressed(t, "gzip", random), 100, 0},
		"compressed, 17 KiB":            {"gzip", compressed(t, "gzip", random), 17 * kib, 65 * kib},
		"deflated, 1 MiB":               {"deflate", compressed(t, "deflate", random), 1 << 20, 1025 * kib},
		"a bomb, all but its last byte": {"gzip", bomb, int64(len(bomb)) - 1, 65 * kib},
		"a third of a bomb":             {"gzip", bomb, 20 * kib, 65 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				flag := byte(0)
				if tc.encoding != "" {
					flag = 1
				}
				body, client := io.Pipe()
				of := ample()
				s := accept(t, body, tc.encoding, most, of)
				defer s.Close()
				ended := make(chan error)
				go func() {
					_, err := receiveOnly(t.Context(), s)
					ended <- err
				}()
				sent := frame(flag, tc.message)[:HeaderLen+tc.sent]
				binary.BigEndian.PutUint32(sent[1:], most)
				if _, err := client.Write(sent); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // until it waits for more
				if !of.TryAcquire(of.Largest() - tc.room) {
					t.Errorf("more than %d bytes are taken", tc.room)
				}
				_ = client.Close()
				if err := <-ended; problem.CodeOf(err) != problem.MalformedBody {
					t.Errorf("it ended with %v", err)
				}
			})
		})
	}
}

// TestMessagesThatGrowDoNotKeepEachOther holds that all of many messages which come at
// once end, in room for a few of them, though each has some of it and waits for more.
func TestMessagesThatGrowDoNotKeepEachOther(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	random := make([]byte, most)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // it cannot fail
	for encoding, message := range map[string][]byte{
		"": frame(0, random), "gzip": frame(1, compressed(t, "gzip", random[:most*9/10])), "deflate": frame(1, compressed(t, "deflate", make([]byte, most))),
	} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				of := roomOf(4 * most)
				var all sync.WaitGroup
				for range 24 {
					all.Go(func() {
						s := accept(t, iotest.HalfReader(bytes.NewReader(message)), encoding, most, of)
						defer s.Close()
						if _, err := receiveOnly(t.Context(), s); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if !of.TryAcquire(of.Largest()) {
					t.Error("not all came back")
				}
			})
		})
	}
}
