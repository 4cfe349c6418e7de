package lifecycle

import "time"

// Reading bounds how slowly a client may read its answer. Only the time counts
// in which something waits to be written: an idle stream may last.
type Reading struct {
	Wait time.Duration // that it may keep an answer waiting; 0 is for ever
	Rate int64         // bytes that it reads for a second more, but never more than Wait at once
}

// piece is how many bytes are written at a time: each is to be taken within
// what the client has left.
const piece = 64 << 10

// pace is how a client has read so far.
type pace struct {
	waited time.Duration
	taken  int64 // bytes
}

// left is how much longer the client may keep the next piece waiting.
func (p *pace) left(bounds Reading) time.Duration {
	earned := time.Duration(p.taken/max(bounds.Rate, 1)) * time.Second
	return min(bounds.Wait+earned-p.waited, bounds.Wait)
}

// write writes data with out, and calls cut, which shall end a call of out that
// waits, when the client takes too long.
func (p *pace) write(bounds Reading, data []byte, out func([]byte) (int, error), cut func()) (n int, err error) {
	if bounds.Wait <= 0 {
		return out(data)
	}
	timer := time.AfterFunc(p.left(bounds), cut)
	defer timer.Stop()
	for {
		began := time.Now()
		more, err := out(data[n:min(n+piece, len(data))])
		n += more
		p.taken += int64(more)
		p.waited += time.Since(began)
		if err != nil || n == len(data) {
			return n, err
		}
		timer.Reset(p.left(bounds))
	}
}
