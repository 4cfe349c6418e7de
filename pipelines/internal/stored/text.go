package stored

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/modelserveai/modelserve/eventing/envelope"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

// value is a value as rows have it: its bytes as they are, or its claim check as JSON.
func value(v envelope.Value) (bytes []byte, claim string) {
	if v.Claim != nil {
		claim = text(v.Claim)
	}
	return filled(v.JSON), claim
}

func parseValue(bytes []byte, claim string) (envelope.Value, error) {
	c, err := parse[envelope.Claim](claim)
	return envelope.Value{JSON: empty(bytes), Claim: c}, err
}

// filled is never nil, which would be NULL.
func filled(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func empty(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

// text is a value as JSON.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of our own types, which are never refused
	}
	return string(b)
}

func problemText(p *execution.Problem) string {
	if p == nil {
		return ""
	}
	return text(p)
}

// texts are names and values; none is "".
func texts(m map[string]string) string {
	if len(m) == 0 {
		return ""
	}
	return text(m)
}

func parseTexts(s string) (map[string]string, error) {
	m, err := parse[map[string]string](s)
	if err != nil || m == nil {
		return nil, err
	}
	return *m, nil
}

// parse reads what text wrote; nil is of "".
func parse[T any](s string) (*T, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // there was none
	}
	v := new(T)
	if err := json.Unmarshal([]byte(s), v); err != nil {
		return nil, fmt.Errorf("a text of it: %w", err)
	}
	return v, nil
}

// Millis is a time as a row has it.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Time is a row's time, in UTC.
func Time(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
