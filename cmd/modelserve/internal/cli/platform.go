package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/modelserveai/modelserve/internal/regular"
)

// Names in the folder that a local platform keeps.
const (
	stateDir     = ".modelserve"
	platformFile = "platform.json"
	keyFile      = "key"
	servicesDir  = "services"
)

// maxStateFile bounds the files that are read of it.
const maxStateFile = 1 << 20

// maxManifest bounds a manifest that is read.
const maxManifest = 4 << 20

const defaultServer = "http://localhost:8080"

// platform is .modelserve/platform.json, which `modelserve dev` writes: where
// the local platform is, and how to reach its store. Paths are absolute or
// relative to the folder that holds the one it is in.
type platform struct {
	Server     string     `json:"server"`
	S3         platformS3 `json:"s3"`
	SigningKey string     `json:"signing_key"`
	PublicKey  string     `json:"public_key"`
	PID        int        `json:"pid"`
	Overlay    string     `json:"overlay"`   // folder of the kustomization that it runs
	Functions  []string   `json:"functions"` // folders of Go modules whose service.yaml it runs
	Library    string     `json:"library"`   // ONNX Runtime's

	dir string // the folder that it keeps, .modelserve or what --data names; "" when there is none
}

type platformS3 struct {
	Endpoint        string `json:"endpoint"`
	Bucket          string `json:"bucket"`
	Region          string `json:"region"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
}

// dataDir is the folder that --data or MODELSERVE_DATA names; "" is none.
func (a *app) dataDir() string {
	if dir := firstOf(a.data, a.vars.Data); dir != "" {
		return a.abs(dir)
	}
	return ""
}

// findPlatform reads the platform whose folder is named, or else the nearest
// .modelserve here or above. One that is not there is a platform without a dir.
func (a *app) findPlatform() (*platform, error) {
	if dir := a.dataDir(); dir != "" {
		if !isDir(dir) {
			return &platform{}, nil
		}
		return readPlatform(dir)
	}
	dir, err := filepath.Abs(a.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the platform: %w", err)
	}
	for {
		if data := filepath.Join(dir, stateDir); isDir(data) {
			return readPlatform(data)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return &platform{}, nil
		}
		dir = parent
	}
}

func readPlatform(dir string) (*platform, error) {
	p := platform{dir: dir}
	path := filepath.Join(dir, platformFile)
	text, err := regular.Read(path, maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &p, nil // prepared, but never run
	}
	if err != nil {
		return nil, fmt.Errorf("read the platform's address: %w", sameUser(err))
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("read %s: %w; `make run` writes it again", path, err)
	}
	return &p, nil
}

// sameUser adds what to do about the files of a platform that another user
// runs: they hold secrets.
func sameUser(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run this as the user who runs the platform", err)
	}
	return err
}

// path makes one of the platform's paths usable from anywhere.
func (p *platform) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(p.dir), name)
}

// deployed is the manifest of a service that deploy made here; "" when it made
// none of that name.
func (p *platform) deployed(name string) string {
	return p.existing("", filepath.Join(servicesDir, name+".yaml"))
}

// running reports whether the process that wrote the file is alive.
func (p *platform) running() bool {
	if p.PID <= 0 {
		return false
	}
	err := syscall.Kill(p.PID, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// address is the platform's URL and the key for it. keyHeader is the file of the
// header with the key, by which a shell line printed for the user brings it; "" is the
// variable of the key.
type address struct {
	server, key, keyHeader string

	keyUnset bool // the variable is not set here
}

// address resolves flags, then the environment, then the platform's files.
func (a *app) address() (address, error) {
	p, err := a.findPlatform()
	if err != nil {
		return address{}, err
	}
	addr := address{server: firstOf(a.server, a.vars.Server, p.Server, defaultServer)}
	u, err := url.Parse(addr.server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return addr, usagef("--server: expected a URL such as %s, got %q", defaultServer, addr.server)
	}
	addr.server = strings.TrimRight(addr.server, "/")
	switch {
	case a.key != "":
		addr.key = a.key
	case a.vars.Key != "":
		addr.key = a.vars.Key
	default:
		addr.key, addr.keyHeader, err = p.localKey(a.Dir, addr.server, a.dataDir() != "")
	}
	set := a.vars.Key
	addr.keyUnset = addr.keyHeader == "" && (set == "" || set != addr.key)
	return addr, err
}

// localKey reads .modelserve/key, which is for the local platform only: it is
// not sent to any other server. header is the file beside it that has it as a header of
// HTTP, absolute where the line is to be pasted anywhere.
func (p *platform) localKey(dir, server string, absolute bool) (key, header string, err error) {
	if p.dir == "" || server != firstOf(p.Server, defaultServer) {
		return "", "", nil
	}
	path := filepath.Join(p.dir, keyFile)
	data, err := regular.Read(path, maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read the platform's key: %w", sameUser(err))
	}
	if relative, err := filepath.Rel(dir, path); err == nil && !absolute {
		path = relative
	}
	return strings.TrimSpace(string(data)), path + ".header", nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// shellQuote quotes s for a POSIX shell, where it needs to be.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
