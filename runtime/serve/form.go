package serve

import (
	"bytes"

	"github.com/modelserveai/modelserve/internal/problem"
)

// The content types of HTML's forms (https://url.spec.whatwg.org/#urlencoded-serializing
// and RFC 7578).
const (
	multipartForm  = "multipart/form-data"
	urlencodedForm = "application/x-www-form-urlencoded"
)

// refuseForm refuses a body that is a form, for every function and protocol:
// its bytes are an envelope around what is meant, and an answer about them
// would be one about the envelope. A multipart form is known by its type. The
// other form's type is what `curl --data-binary` sends with any file, so the
// body has to be one as well.
func refuseForm(media string, body []byte) error {
	const instead = "send the file itself as the body (curl --data-binary @FILE), or JSON as application/json"
	switch {
	case media == multipartForm:
		return problem.New(problem.UnsupportedMedia, "a form (multipart/form-data, as by curl -F) is not read here: %s", instead)
	case media == urlencodedForm && isURLEncoded(body):
		return problem.New(problem.UnsupportedMedia, "a URL-encoded form (as by curl --data-urlencode) is not read here: %s; "+
			"if these bytes are the content, name its type, such as application/octet-stream", instead)
	default:
		return nil
	}
}

// isURLEncoded reports whether a body is a URL-encoded form: nothing but the
// characters that an encoder leaves, and either an escape or a name with a
// value. A text file is none by its line ends, base64 by its padding's place.
func isURLEncoded(body []byte) bool {
	form := false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', bytes.IndexByte([]byte("*-._~+&"), c) >= 0:
		case c == '=':
			value := i+1 < len(body) && body[i+1] != '=' && body[i+1] != '&'
			form = form || i > 0 && value
		case c == '%' && i+2 < len(body) && isHex(body[i+1]) && isHex(body[i+2]):
			form = true
			i += 2
		default:
			return false
		}
	}
	return form
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
