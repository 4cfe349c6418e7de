package grpcwire

import "encoding/binary"

// Frames follows the messages of a body while its bytes pass. The zero value is at
// its beginning.
type Frames struct {
	head [HeaderLen]byte
	n    int   // bytes of head that have passed
	left int64 // bytes of the message that have not
	came int64
}

// Pass notes that bytes have passed, and reports whether a message began in them.
func (f *Frames) Pass(p []byte) (began bool) {
	for len(p) > 0 {
		began = began || f.came == 0
		var k int
		if f.n < HeaderLen {
			k = copy(f.head[f.n:], p)
			if f.n += k; f.n == HeaderLen {
				f.left = int64(binary.BigEndian.Uint32(f.head[1:]))
			}
		} else {
			k = int(min(f.left, int64(len(p))))
			f.left -= int64(k)
		}
		p = p[k:]
		f.came += int64(k)
		if f.n == HeaderLen && f.left == 0 {
			*f = Frames{}
		}
	}
	return began
}

// Within is how many bytes have passed of the message that is under way, with what
// precedes it; 0 between messages.
func (f *Frames) Within() int64 { return f.came }
