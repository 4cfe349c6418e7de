package route

import "slices"

// State is what a function does, by the revision that is its latest or that has its
// traffic; "" where nobody knows. It is for people, but for two: with StateFailed
// calls would fail, and with StateIdle the next has to fetch its model.
type State string

// The states.
const (
	StateBuilding State = "building"
	StateStarting State = "starting"
	StateReady    State = "ready"
	StateIdle     State = "idle" // at zero
	StateFailed   State = "failed"
)

// Shared are what each of several revisions has, which a call finds whichever one
// it comes to, and what only some of them have; in the order of the lists.
func Shared[T comparable](lists [][]T) (common, mixed []T) {
	for i, list := range lists {
		if i == 0 {
			common = slices.Clone(list)
		}
		common = slices.DeleteFunc(common, func(v T) bool { return !slices.Contains(list, v) })
	}
	for _, v := range slices.Concat(lists...) {
		if !slices.Contains(common, v) && !slices.Contains(mixed, v) {
			mixed = append(mixed, v)
		}
	}
	return common, mixed
}
