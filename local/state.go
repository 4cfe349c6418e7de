package local

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/modelserveai/modelserve/internal/regular"
)

// maxStateFile bounds the files of the data folder that are read whole.
const maxStateFile = 64 << 20

// State is .modelserve/platform.json, by which the commands find a running
// platform. Paths are absolute.
type State struct {
	Server     string    `json:"server"`
	PID        int       `json:"pid"`
	StartedAt  time.Time `json:"started_at"`
	S3         S3        `json:"s3"`
	SigningKey string    `json:"signing_key"`
	PublicKey  string    `json:"public_key"`
	Services   string    `json:"services"` // folder of manifests that the platform watches
	Overlay    string    `json:"overlay"`  // folder of the kustomization that it runs
	Library    string    `json:"library"`  // ONNX Runtime's; "" leaves finding it to whoever needs it
}

// S3 says where objects are.
type S3 struct {
	Endpoint        string `json:"endpoint"`
	Bucket          string `json:"bucket"`
	Region          string `json:"region"`
	PathStyle       bool   `json:"path_style"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

// env is the S3 as variables.
func (s S3) env() []string {
	return []string{
		"MODELSERVE_S3_ENDPOINT=" + s.Endpoint,
		"MODELSERVE_S3_BUCKET=" + s.Bucket,
		"MODELSERVE_S3_REGION=" + s.Region,
		"MODELSERVE_S3_PATH_STYLE=true",
		"MODELSERVE_S3_ACCESS_KEY_ID=" + s.AccessKeyID,
		"MODELSERVE_S3_SECRET_ACCESS_KEY=" + s.SecretAccessKey,
	}
}

// dir is the data folder's map.
type dir string

func (d dir) path(name string) string { return filepath.Join(string(d), name) }
func (d dir) state() string           { return d.path("platform.json") }
func (d dir) key() string             { return d.path("key") }
func (d dir) keys() string            { return d.path("gateway.db") }
func (d dir) signing() string         { return d.path("signing.key") }
func (d dir) public() string          { return d.path("signing.pub") }
func (d dir) services() string        { return d.path("services") }
func (d dir) programs() string        { return d.path("bin") }
func (d dir) objects() string         { return d.path("s3") }
func (d dir) cache() string           { return d.path("cache") }
func (d dir) revisions() string       { return d.path("revisions.json") }
func (d dir) terminations() string    { return d.path("terminations") }

// readState reads what the last platform of this folder wrote.
func (d dir) readState() (State, bool) {
	var s State
	text, err := regular.Read(d.state(), maxStateFile)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return State{}, false
	}
	return s, true
}

// writeJSON replaces a file, readable by its owner only, in one step.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return writeFile(path, append(text, '\n'), 0o600)
}

func writeFile(path string, text []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temporary.Write(text)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the error is told already
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ensureSigningKey makes the key that versions are signed with, once, and
// writes its public half beside it.
func (d dir) ensureSigningKey() error {
	if text, err := regular.Read(d.signing(), maxStateFile); err == nil {
		block, _ := pem.Decode(text)
		if block == nil {
			return fmt.Errorf("signing key %s: not PEM; remove it to make a new one, which refuses models signed before", d.signing())
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		private, ok := key.(ed25519.PrivateKey)
		if err != nil || !ok {
			return fmt.Errorf("signing key %s: not an Ed25519 key in PKCS #8", d.signing())
		}
		return d.writePublicKey(private.Public())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read signing key: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	if err := writeFile(d.signing(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	return d.writePublicKey(public)
}

func (d dir) writePublicKey(public any) error {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return fmt.Errorf("write public key: %w", err)
	}
	return writeFile(d.public(), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}
