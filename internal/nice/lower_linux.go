package nice

import "golang.org/x/sys/unix"

// niceness of the threads: beside an ordinary one that is busy they have a third of a
// processor, and an ordinary one that wakes has theirs at once.
const niceness = 5

// lower gives the calling thread, and on Linux none but it, a lower priority. Every
// program may; where something refuses it all threads are as they were.
func lower() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness) }
