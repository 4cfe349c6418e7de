package jwt

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/modelserveai/modelserve/gateway/auth"
)

// endOfTime is the last second of the year 9999, after which RFC 3339 has no text.
const endOfTime = 253402300799

// audience checks that a token is for one of audiences (RFC 7519, section 4.1.3).
func audience(claims map[string]any, audiences []string) error {
	var found []string
	switch aud := claims["aud"].(type) {
	case string:
		found = []string{aud}
	case []any:
		for _, one := range aud {
			text, ok := one.(string)
			if !ok {
				return errors.New("aud is not of strings")
			}
			found = append(found, text)
		}
	}
	if !slices.ContainsFunc(found, func(aud string) bool { return slices.Contains(audiences, aud) }) {
		return errors.New("for another audience")
	}
	return nil
}

// subject is who a token is of: 1 to 255 bytes, which OpenID Connect has as the most.
func subject(claims map[string]any) (string, error) {
	sub, ok := claims["sub"].(string)
	if !ok || !auth.IsSub(sub) {
		return "", errors.New("sub is not 1 to 255 printable bytes")
	}
	return sub, nil
}

// times are a token's, as far as it has them.
type times struct {
	expires   time.Time
	notBefore time.Time // zero is none
	issued    time.Time // zero is none
}

func timesOf(claims map[string]any) (times, error) {
	var t times
	for name, at := range map[string]*time.Time{"exp": &t.expires, "nbf": &t.notBefore, "iat": &t.issued} {
		value, there := claims[name]
		if !there {
			continue
		}
		seconds, ok := value.(float64)
		if !ok || seconds < 0 || seconds > endOfTime {
			return t, errors.New(name + " is no time")
		}
		whole, part := math.Modf(seconds)
		*at = time.Unix(int64(whole), int64(part*1e9)).UTC()
	}
	if _, there := claims["exp"]; !there {
		return t, errors.New("no exp")
	}
	return t, nil
}
