package infer

import (
	"bytes"
	"mime"
	"strings"

	"github.com/modelserveai/modelserve/problem"
)

// The content types of HTML's forms (https://url.spec.whatwg.org/#urlencoded-serializing
// and RFC 7578).
const (
	multipartForm  = "multipart/form-data"
	urlencodedForm = "application/x-www-form-urlencoded"
)

// InsteadOfForm is what to send, where a form is refused that only JSON is for.
const InsteadOfForm = "send JSON as application/json"

// MediaType is the media type of a body by the values of its request's Content-Type:
// without parameters, in lower case, "" where they have none. Two that differ are
// refused, as each reader could take another, and JSON that is not UTF-8 (RFC 8259,
// 8.1).
func MediaType(values []string) (string, error) {
	media := ""
	for i, value := range values {
		name, _, _ := strings.Cut(value, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if i > 0 && name != media {
			return "", problem.New(problem.UnsupportedMedia, "expected one Content-Type; got the header %d times, with types that differ", len(values))
		}
		media = name
		if err := checkCharset(media, value); err != nil {
			return "", err
		}
	}
	return media, nil
}

// checkCharset refuses JSON, also as curl sends it with -d, whose Content-Type has
// another charset than UTF-8, or cannot be read.
func checkCharset(media, contentType string) error {
	_, subtype, _ := strings.Cut(media, "/")
	if subtype != "json" && !strings.HasSuffix(subtype, "+json") && media != urlencodedForm || len(contentType) == len(media) {
		return nil
	}
	_, parameters, err := mime.ParseMediaType(contentType)
	if charset := parameters["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return problem.New(problem.UnsupportedMedia, "expected a Content-Type such as application/json, in UTF-8")
	}
	return nil
}

// RefuseForm refuses a body that is a form, for every function and protocol: its
// bytes are an envelope around what is meant, and an answer about them would be
// one about the envelope. A multipart form is known by its type, so that body may
// be nil. The other form's type is what `curl -d` and `curl --data-binary` send
// with anything, so the body has to be one as well. instead is what to send.
func RefuseForm(media string, body []byte, instead string) error {
	switch {
	case media == multipartForm:
		return problem.New(problem.UnsupportedMedia, "a form (multipart/form-data, as by curl -F) is not read here: %s", instead)
	case media == urlencodedForm && isURLEncoded(body):
		return problem.New(problem.UnsupportedMedia, "a URL-encoded form (as by curl --data-urlencode) is not read here: %s", instead)
	default:
		return nil
	}
}

// isURLEncoded reports whether a body is a URL-encoded form: one line with
// nothing but the characters that an encoder leaves, and either an escape or a
// name with a value. A text file is none by its lines, base64 by its padding's
// place.
func isURLEncoded(body []byte) bool {
	body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r")) // as a shell's echo ends it
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
