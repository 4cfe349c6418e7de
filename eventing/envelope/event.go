package envelope

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The extensions of an execution's events. What they say is for logs and taps alone;
// a function believes the ticket.
const (
	Tenant      = "tenant"
	ExecutionID = "executionid"
	Pipeline    = "pipeline" // its name
	Step        = "step"     // that the event is for, of an answer the one that it is of
	Attempt     = "attempt"  // the epoch
	Ticket      = "ticket"   // eventing/ticket
	Sequence    = "sequence"

	// DataLength and DataSHA256 are the length of the data in bytes and its SHA-256 in
	// lower-case hexadecimal: a channel may hand on what was cut.
	DataLength = "datalength"
	DataSHA256 = "datasha256"
)

// Reserved are the extensions that callers may not set.
func Reserved() []string {
	return []string{Tenant, Ticket, Attempt, ExecutionID, Pipeline, Step, Sequence}
}

// RequestedType is the type of the event that asks for a step.
const RequestedType = "dev.modelserve.step.requested.v1"

// AnsweredType is the type of a function's answers.
func AnsweredType(function string) string { return "dev.modelserve." + function + ".answered.v1" }

// RequestedSource is the source of a pipeline's events.
func RequestedSource(pipeline string) string { return "/pipelines/" + pipeline }

// ID is the id of the event that asks for a step, and, of another source, of its
// answer. item is 0 outside a forEach.
func ID(execution, step string, item, epoch int) string {
	return execution + "." + step + "." + strconv.Itoa(item) + "." + strconv.Itoa(epoch)
}

// payloads is the prefix of the bucket that values of executions lie below.
const payloads = "payloads/"

// Payloads is the prefix of the keys of one execution's values, with a slash at its
// end.
func Payloads(tenant, execution string) string { return payloads + tenant + "/" + execution + "/" }

// OutputKey is the key of a step's output: always the same for the same bytes of one
// item and epoch, and another for others, so that what a claim check names never
// changes. sha256 is that of the bytes, in hexadecimal.
func OutputKey(tenant, execution, step string, item, epoch int, sha256 string) string {
	return Payloads(tenant, execution) + step + "." + strconv.Itoa(item) + "." + strconv.Itoa(epoch) + "-" + sha256[:min(len(sha256), 16)] + ".json"
}

// Is reports whether a claim check names a value of an execution, or one of its
// tenant's inputs, in whichever bucket. Who opens it checks the bucket and the rest.
func (c *Claim) Is(tenant, execution string) bool {
	rest, ok := strings.CutPrefix(c.Ref, "s3://")
	_, key, slash := strings.Cut(rest, "/")
	if !ok || !slash || !IsTenant(tenant) || !IsExecution(execution) {
		return false
	}
	return strings.HasPrefix(key, Payloads(tenant, execution)) || strings.HasPrefix(key, "inputs/"+tenant+"/")
}

// Stamp is what the extensions DataLength and DataSHA256 are for data.
func Stamp(data []byte) (length, sum string) { return strconv.Itoa(len(data)), Sum(data) }

// Sum is the SHA-256 of data in lower-case hexadecimal, as claim checks and events
// have it.
func Sum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ErrDamaged is of data that is not what its event says.
var ErrDamaged = errors.New("the data is not what the event says")

// CheckStamp holds data to its event's extensions; both are required. Its error is
// ErrDamaged.
func CheckStamp(data []byte, length, sum string) error {
	switch {
	case length == "" || sum == "":
		return fmt.Errorf("%w: expected the extensions %s and %s", ErrDamaged, DataLength, DataSHA256)
	case length != strconv.Itoa(len(data)):
		return fmt.Errorf("%w: %s is %.20s, and %d bytes came", ErrDamaged, DataLength, length, len(data))
	case sum != Sum(data):
		return fmt.Errorf("%w: %s is of other bytes", ErrDamaged, DataSHA256)
	default:
		return nil
	}
}
