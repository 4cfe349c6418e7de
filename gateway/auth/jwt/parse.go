package jwt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxToken is a token's text in bytes.
const maxToken = 16 << 10

// parsed is a token taken apart: nothing of it is verified.
type parsed struct {
	text   string
	alg    jose.SignatureAlgorithm
	kid    string // "" where it names no key
	issuer string
	claims map[string]any // of JSON: string, float64, bool, nil, map and []any
}

// header has the members of a token's header that say how to read it. Those which
// bring a key along (jwk, jku, x5u, x5c) are none of them: keys are the issuer's.
type header struct {
	Alg  string         `json:"alg"`
	Kid  string         `json:"kid"`
	Typ  *string        `json:"typ"`
	Cty  jsontext.Value `json:"cty"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
	Zip  jsontext.Value `json:"zip"`
	Enc  jsontext.Value `json:"enc"`
}

// parse takes a token of at most maxToken apart, more strictly than go-jose does: one way to write it,
// no name twice, nothing that asks for another reading (RFC 8725, section 3). Its
// errors are for the log, and repeat nothing of the token.
func parse(text string) (*parsed, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 { // a JWE has five
		return nil, errors.New("expected three parts")
	}
	// go-jose would skip white space, and take what ends in other bits for the same.
	strict := base64.RawURLEncoding.Strict()
	var decoded [3][]byte
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, errors.New("expected base64url without padding and white space")
		}
		var err error
		if decoded[i], err = strict.DecodeString(part); err != nil {
			return nil, errors.New("expected base64url without padding and white space")
		}
	}
	var head header
	if err := unmarshal(decoded[0], &head); err != nil {
		return nil, errors.New("the header is not the JSON of one")
	}
	if err := head.check(); err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := unmarshal(decoded[1], &claims); err != nil {
		return nil, errors.New("the claims are not a JSON object with each name once")
	}
	issuer, ok := claims["iss"].(string)
	if !ok {
		return nil, errors.New("no issuer")
	}
	return &parsed{text: text, alg: jose.SignatureAlgorithm(head.Alg), kid: head.Kid, issuer: issuer, claims: claims}, nil
}

// unmarshal reads a JSON object with each name once, in UTF-8, and nothing after it.
func unmarshal(text []byte, into any) error {
	if !bytes.HasPrefix(text, []byte("{")) {
		return errors.New("expected an object")
	}
	return json.Unmarshal(text, into) //nolint:wrapcheck // the caller says what it is of
}

func (h *header) check() error {
	switch {
	case h.Crit != nil, h.B64 != nil: // no extension is known here; RFC 7515, section 4.1.11
		return errors.New("the header has an extension that must be understood")
	case h.Zip != nil, h.Enc != nil:
		return errors.New("the token is compressed or encrypted")
	case h.Cty != nil:
		return errors.New("the token has another inside")
	}
	if h.Typ == nil {
		return nil
	}
	// RFC 8725, section 3.11: a token of another kind (of a logout, of an event, of a
	// proof) is not one to call with. RFC 9068 has at+jwt.
	switch strings.TrimPrefix(strings.ToLower(*h.Typ), "application/") {
	case "jwt", "at+jwt":
		return nil
	default:
		return errors.New("the token is of another type")
	}
}
