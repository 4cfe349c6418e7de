package instance

import "encoding/json"

// failure reads a readiness body, {"state": "loading"|"ready"|"failed",
// "reason": "…"}, and returns the reason of a state that will not change by
// waiting, or "".
func failure(body []byte) string {
	var r struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(body, &r); err != nil || r.State != failedState {
		return ""
	}
	if r.Reason == "" {
		return "it says that it failed, without a reason"
	}
	return r.Reason
}
