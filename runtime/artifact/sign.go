package artifact

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelserveai/modelserve/runtime/model"
)

// SignatureObject is the name of the object that holds the signatures of a
// manifest. It is bound to the manifest's bytes, so publishers that race for
// one version cannot put their signature beside another's manifest.
func SignatureObject(manifest []byte) string {
	return ManifestFile + "." + strings.TrimPrefix(model.DigestOf(manifest), "sha256:") + ".sig"
}

// maxSignature bounds a signature object: one line of base64 per key that
// signed.
const maxSignature = 4 << 10

// Signer signs manifests with Ed25519 (RFC 8032).
type Signer struct{ key ed25519.PrivateKey }

// Sign returns the signature object's bytes.
func (s *Signer) Sign(manifest []byte) []byte {
	return []byte(base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, manifest)) + "\n")
}

// Public is the key that verifies what s signs.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) } //nolint:forcetypeassert // by its documentation

// Verifier accepts manifests that one of its keys signed.
type Verifier struct{ keys []ed25519.PublicKey }

// NewVerifier makes a verifier of keys; several stand beside each other while
// a key is replaced.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier { return &Verifier{keys: keys} }

// names are the keys' own, by which people tell them apart: how their sha256
// begins.
func (v *Verifier) names() []string {
	var names []string
	for _, key := range v.keys {
		names = append(names, strings.TrimPrefix(model.DigestOf(key), "sha256:")[:16])
	}
	return names
}

// The reasons why a manifest is not accepted.
var (
	ErrUnsigned       = errors.New("unsigned: there is no signature, and one is required (MODELSERVE_PUBLIC_KEY or MODELSERVE_PUBLIC_KEY_FILE)")
	ErrWrongSignature = errors.New("signature wrong: no trusted key made it for these bytes (MODELSERVE_PUBLIC_KEY or MODELSERVE_PUBLIC_KEY_FILE)")
)

// Verify checks a signature object's bytes against the manifest's.
func (v *Verifier) Verify(manifest, signatures []byte) error {
	if len(signatures) == 0 {
		return ErrUnsigned
	}
	if len(signatures) > maxSignature {
		return ErrWrongSignature
	}
	for line := range strings.Lines(string(signatures)) {
		sig, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(sig) != ed25519.SignatureSize {
			continue
		}
		for _, key := range v.keys {
			if ed25519.Verify(key, manifest, sig) {
				return nil
			}
		}
	}
	return ErrWrongSignature
}

// CreateKeys makes a new pair of keys and writes both as PEM, the private one
// as PKCS #8 and the public one as PKIX, each readable by its owner alone. It
// replaces no private key that is there already: that is fs.ErrExist.
func CreateKeys(private, public string) (*Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create signing key: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("create signing key: %w", err)
	}
	s := &Signer{key: key}
	if err := writeNew(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), false); err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	return s, s.WritePublic(public)
}

// WritePublic writes the public half as PEM (PKIX), in place of what is there.
func (s *Signer) WritePublic(path string) error {
	pkix, err := x509.MarshalPKIXPublicKey(s.Public())
	if err == nil {
		err = writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}), true)
	}
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	return nil
}

// writeNew writes a file that appears whole, with mode 0600.
func writeNew(path string, data []byte, replace bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if rm := os.Remove(f.Name()); rm != nil && !errors.Is(rm, os.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // fails where the file exists
}

// ReadSigner reads a private key that CreateKeys wrote.
func ReadSigner(path string) (*Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	blocks, err := parsePEM(data, "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read signing key %s: expected an Ed25519 key", path)
	}
	return &Signer{key: private}, nil
}

// ReadVerifier reads one or more public keys from a PEM file.
func ReadVerifier(path string) (*Verifier, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read verification key: %w", err)
	}
	v, err := ParseVerifier(data)
	if err != nil {
		return nil, fmt.Errorf("read verification key %s: %w", path, err)
	}
	return v, nil
}

// ParseVerifier parses one or more public keys in PEM (PKIX).
func ParseVerifier(text []byte) (*Verifier, error) {
	blocks, err := parsePEM(text, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	var v Verifier
	for _, b := range blocks {
		key, err := x509.ParsePKIXPublicKey(b)
		if err != nil {
			return nil, fmt.Errorf("expected an Ed25519 key as PKIX: %w", err)
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("expected an Ed25519 key")
		}
		v.keys = append(v.keys, public)
	}
	return &v, nil
}

// parsePEM returns the blocks of one type; a text without any is an error, and
// so is one with a block that is cut short: of two keys one would not count.
func parsePEM(text []byte, kind string) ([][]byte, error) {
	var blocks [][]byte
	whole, found := text, 0
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		found++
		if b.Type == kind {
			blocks = append(blocks, b.Bytes)
		}
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("expected a PEM block %q", kind)
	}
	if begun := bytes.Count(whole, []byte("-----BEGIN ")); begun != found {
		return nil, fmt.Errorf("expected whole PEM blocks: %d begin, and %d can be read", begun, found)
	}
	return blocks, nil
}
