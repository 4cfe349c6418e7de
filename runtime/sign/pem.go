package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/modelserveai/modelserve/internal/regular"
)

// maxKeyFile bounds a file of keys, in bytes.
const maxKeyFile = 1 << 20

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
	if err := regular.Create(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	return s, s.WritePublic(public)
}

// WritePublic writes the public half as PEM (PKIX), in place of what is there.
func (s *Signer) WritePublic(path string) error {
	pkix, err := x509.MarshalPKIXPublicKey(s.Public())
	if err == nil {
		err = regular.Replace(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	return nil
}

// ReadSigner reads a private key that CreateKeys wrote.
func ReadSigner(path string) (*Signer, error) {
	data, err := regular.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	s, err := ParseSigner(data)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	return s, nil
}

// ParseSigner parses a private key in PEM (PKCS #8).
func ParseSigner(text []byte) (*Signer, error) {
	blocks, err := parsePEM(text, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("expected an Ed25519 key as PKCS #8: %w", err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("expected an Ed25519 key")
	}
	return &Signer{key: private}, nil
}

// ReadVerifier reads one or more public keys from a PEM file.
func ReadVerifier(path string) (*Verifier, error) {
	data, err := regular.Read(path, maxKeyFile)
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

// parsePEM returns the blocks, all of one type; a text without any is an error. So is
// one with anything else in it but white space and lines that begin with #: it may be
// a key whose block is cut short or misspelled, and which would not count.
func parsePEM(text []byte, kind string) ([][]byte, error) {
	var blocks [][]byte
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			break
		}
		read := text[:len(text)-len(rest)]
		begin := bytes.LastIndex(read, []byte("-----BEGIN ")) // within a block there is no other
		if err := checkBetween(read[:begin]); err != nil {
			return nil, err
		}
		if b.Type != kind {
			return nil, fmt.Errorf("expected PEM blocks %q, got %.40q", kind, b.Type)
		}
		blocks, text = append(blocks, b.Bytes), rest
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("expected a PEM block %q", kind)
	}
	if err := checkBetween(text); err != nil {
		return nil, err
	}
	return blocks, nil
}

// checkBetween refuses what stands beside PEM blocks.
func checkBetween(text []byte) error {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return errors.New("expected whole PEM blocks, and beside them only empty lines and comments (#)")
		}
	}
	return nil
}
