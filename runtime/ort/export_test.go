package ort

// Parts that the tests look at.

// ProbeModel is the model that a GPU must run to be chosen.
func ProbeModel() []byte { return probeModel }

// Probe runs it on a device.
func (l *Library) Probe(d Device) error { return l.probe(Options{Device: d}) }

// CUDAOptions are the provider options of a device.
func CUDAOptions(d Device, memory int64) map[string]string {
	number, _ := d.cuda()
	m := map[string]string{}
	for _, e := range (cudaProvider{number: number, memory: memory}).options() {
		m[e[0]] = e[1]
	}
	return m
}

// FindCUDA looks for CUDA beside a library.
func FindCUDA(library string) (devices int, reason string) {
	s := findCUDA(library)
	return s.devices, s.reason
}

// Bind makes a session run as one on a GPU does, through an I/O binding over
// staging memory, with the CPU's own memory in the place of the page-locked.
func (s *Session) Bind() error {
	var err error
	s.bound, err = s.newBound("Cpu", 0)
	return err
}

// Usage is what distinguishes unusually large runs.
type Usage = usage

// Ran counts a run.
func (u *Usage) Ran(size int) bool { return u.ran(size) }

// Failure is what the message of a run on a device means to its caller.
func Failure(device Device, message string) error {
	return (&Session{device: device}).failure(&Error{Message: message})
}

// LeftInBlank fills a buffer of so many bytes, gives it back, and counts what
// of it is in the blank one that is taken next.
func LeftInBlank(poison byte, size int) (left int) {
	p := buffers{poison: poison}
	for range 8 {
		b := p.take(size)
		for i := range b.bytes(size) {
			b.bytes(size)[i] = 0x55
		}
		p.put(b)
		b = p.blank(size)
		for _, v := range b.bytes(size) {
			if v != poison {
				left++
			}
		}
		p.put(b)
	}
	return left
}

// PoolSize is how many bytes the session's pool has, in use or kept for runs.
func (s *Session) PoolSize() int64 { return s.poolSize() }
