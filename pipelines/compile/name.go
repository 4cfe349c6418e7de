package compile

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// maxName is the length of a Sequence's or Parallel's name: Knative makes names of
// Services of it, at most 63 characters long, by appending at most the 27 of
// "-kn-sequence-100-kn-channel".
const maxName = 36

// hashLength is how many characters of a hash are in a name, five bits each.
const hashLength = 12

// Sequence is the name of a version's Sequence of a segment:
// PIPELINE-vN-sSEGMENT-HASH, the pipeline's name cut where it is long. The hash is of
// tenant and pipeline, so that no two of them have a name in common.
func Sequence(tenant, pipeline string, version, segment int) string {
	return name(tenant, pipeline, "-v"+strconv.Itoa(version)+"-s"+strconv.Itoa(segment))
}

// Parallel is the name of a version's Parallel of a fork, by its index in
// plan.Plan.Forks: as Sequence's, with p for s.
func Parallel(tenant, pipeline string, version, fork int) string {
	return name(tenant, pipeline, "-v"+strconv.Itoa(version)+"-p"+strconv.Itoa(fork))
}

// Channel is the name of the channel before a step of a Sequence, as Knative names it.
func Channel(sequence string, step int) string {
	return sequence + "-kn-sequence-" + strconv.Itoa(step)
}

// Ingress is the name of the channel before a Parallel's branches, as Knative names it.
func Ingress(parallel string) string { return parallel + "-kn-parallel" }

// Host is the host name of a channel in memory, in a cluster of this domain
// (cluster.local).
func Host(channel, namespace, domain string) string {
	return channel + "-kn-channel." + namespace + ".svc." + domain
}

func (v Version) sequence(segment int) string {
	return Sequence(v.Tenant, v.Pipeline, v.Number, segment)
}

func (v Version) parallel(fork int) string { return Parallel(v.Tenant, v.Pipeline, v.Number, fork) }

func name(tenant, pipeline, middle string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + pipeline))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:hashLength]
	first := pipeline
	if first == "" || first[0] >= '0' && first[0] <= '9' { // a Service's name begins with a letter
		first = "p" + first
	}
	if most := max(1, maxName-len(middle)-1-hashLength); len(first) > most {
		first = strings.TrimRight(first[:most], "-")
	}
	return first + middle + "-" + hash
}
