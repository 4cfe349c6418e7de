package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/modelserveai/modelserve/internal/regular"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// LastGood keeps the newest policy of each model beyond the process, so that one
// that starts again, or another one, does not follow an older one. PolicyFolder is
// one, and the gateway's databases are.
type LastGood interface {
	// KeptPolicy returns the bytes of policy.json that were kept of a model; nil where
	// none were. They are verified by whoever uses them.
	KeptPolicy(ctx context.Context, model string) ([]byte, error)

	// KeepPolicy keeps the bytes of policy.json of a generation, unless those of the
	// same or a later one are kept.
	KeepPolicy(ctx context.Context, model string, generation int64, data []byte) error
}

// PolicyFolder keeps policies as files of a folder, NAME.json each, of at most
// model.MaxPolicy bytes. Processes may share it. Whoever may write to it can have an
// older signed policy followed, and no unsigned one.
type PolicyFolder struct{ dir string }

// NewPolicyFolder makes the folder when it is missing, for its user alone.
func NewPolicyFolder(dir string) (*PolicyFolder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of policies: %w", err)
	}
	return &PolicyFolder{dir: dir}, nil
}

// KeptPolicy implements LastGood.
func (p *PolicyFolder) KeptPolicy(_ context.Context, name string) ([]byte, error) {
	path, err := p.path(name)
	if err != nil {
		return nil, err
	}
	data, err := regular.Read(path, model.MaxPolicy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last good policy of model %s: %w", name, err)
	}
	return data, nil
}

// KeepPolicy implements LastGood.
func (p *PolicyFolder) KeepPolicy(ctx context.Context, name string, generation int64, data []byte) (err error) {
	path, err := p.path(name)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(p.dir, ".lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("keep the policy of model %s: %w", name, err)
	}
	defer lock.Close() // which unlocks it
	// Nobody holds it for longer than a file takes to be written.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("keep the policy of model %s: lock: %w", name, err)
	}
	have, err := p.KeptPolicy(ctx, name)
	if err != nil {
		return err
	}
	if old, err := model.ParsePolicy(name, have); err == nil && old.Generation >= generation {
		return nil
	}
	if err := regular.Replace(path, data, 0o600); err != nil {
		return fmt.Errorf("keep the policy of model %s: %w", name, err)
	}
	return nil
}

// path is a model's file. No name of a model begins with a dot or has a slash.
func (p *PolicyFolder) path(name string) (string, error) {
	if _, err := infer.ParseName(name); err != nil {
		return "", err
	}
	return filepath.Join(p.dir, name+".json"), nil
}
