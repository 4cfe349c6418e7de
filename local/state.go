package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/sign"
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
	Services   string    `json:"services"`            // folder of manifests that the platform watches
	Overlay    string    `json:"overlay"`             // folder of the kustomization that it runs; "" is the pool alone
	Functions  []string  `json:"functions,omitempty"` // folders of Go modules whose service.yaml it runs
	Library    string    `json:"library"`             // ONNX Runtime's; "" leaves finding it to whoever needs it
}

// S3 is where objects are.
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
func (d dir) header() string          { return d.path("key.header") }
func (d dir) keys() string            { return d.path("gateway.db") }
func (d dir) redis() string           { return d.path("redis") }
func (d dir) policies() string        { return d.path("policies") }
func (d dir) hashKey() string         { return d.path("hash.key") }
func (d dir) gateway() string         { return d.path("gateway.yaml") }
func (d dir) signing() string         { return d.path("signing.key") }
func (d dir) public() string          { return d.path("signing.pub") }
func (d dir) pipelines() string       { return d.path("pipelines.db") }
func (d dir) pipelinesKey() string    { return d.path("pipelines.key") }
func (d dir) pipelinesPublic() string { return d.path("pipelines.pub") }
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
	return writeFile(path, append(text, '\n'))
}

// writeFile replaces a file, readable by its owner only, in one step.
func writeFile(path string, text []byte) error {
	if err := regular.Replace(path, text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ensureSigningKey makes the key that versions are signed with, once, and
// writes its public half beside it.
func (d dir) ensureSigningKey() error {
	_, err := ensureKeys(d.signing(), d.public(), "refuses models signed before")
	return err
}

// ensurePipelinesKey makes the key that tickets of pipelines are signed with, once, and
// writes its public half beside it, for the functions.
func (d dir) ensurePipelinesKey() (*sign.Signer, error) {
	return ensureKeys(d.pipelinesKey(), d.pipelinesPublic(), "has executions that run begin their steps again")
}

// ensureKeys makes a key pair where there is none; then is what another key would mean.
func ensureKeys(private, public, then string) (*sign.Signer, error) {
	signer, err := sign.ReadSigner(private)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		signer, err = sign.CreateKeys(private, public)
	case err == nil:
		err = signer.WritePublic(public)
	default:
		err = fmt.Errorf("%w; remove the file to make a new key, which %s", err, then)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	return signer, nil
}
