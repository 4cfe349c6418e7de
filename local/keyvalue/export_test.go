package keyvalue

// OpenBounded is Open with another bound on keys, and First what reads a connection's
// first command.
var (
	OpenBounded = open
	First       = first
)
