// Package callers wires what knows who may call, over one database, for each of the
// programs that have a gateway: the copy of keys, roles and grants, the hashing of
// secrets, the log of refusals, and the operator's first key.
//
// It decides nothing that what it wires could decide, and opens no database.
package callers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/gateway"
	"github.com/modelserveai/modelserve/gateway/access"
	"github.com/modelserveai/modelserve/gateway/audit"
	"github.com/modelserveai/modelserve/gateway/auth"
	"github.com/modelserveai/modelserve/gateway/auth/jwt"
	"github.com/modelserveai/modelserve/gateway/control"
	"github.com/modelserveai/modelserve/gateway/gatewayfile"
	"github.com/modelserveai/modelserve/gateway/rights"
	"github.com/modelserveai/modelserve/internal/env"
	"github.com/modelserveai/modelserve/internal/telemetry"
	"github.com/modelserveai/modelserve/problem"
)

// Config is how much is kept. Zero fields mean their defaults.
type Config struct {
	// File is the gateway's file (gateway.yaml), followed as it changes: another one is
	// renamed to it. Where it is not there, the defaults are in force.
	File string `env:"MODELSERVE_GATEWAY_FILE"`

	// TenantKeys, TenantRoles and TenantGrants bound what one tenant has at once; the
	// rotations of a key count once, and a key that expired counts for a day.
	TenantKeys   int `env:"MODELSERVE_TENANT_KEYS" envDefault:"1000"`
	TenantRoles  int `env:"MODELSERVE_TENANT_ROLES" envDefault:"100"`
	TenantGrants int `env:"MODELSERVE_TENANT_GRANTS" envDefault:"1000"`

	// AuditAge and AuditEntries are how long entries of the audit log are kept, and
	// how many of one chain.
	AuditAge     time.Duration `env:"MODELSERVE_AUDIT_AGE" envDefault:"9600h"`
	AuditEntries int64         `env:"MODELSERVE_AUDIT_ENTRIES" envDefault:"1000000"`
}

// Check implements env.Checker.
func (c *Config) Check() []error {
	var faults []error
	for _, bound := range []struct {
		variable string
		is       int64
	}{
		{"MODELSERVE_TENANT_KEYS", int64(c.TenantKeys)},
		{"MODELSERVE_TENANT_ROLES", int64(c.TenantRoles)},
		{"MODELSERVE_TENANT_GRANTS", int64(c.TenantGrants)},
		{"MODELSERVE_AUDIT_ENTRIES", c.AuditEntries},
		{"MODELSERVE_AUDIT_AGE", int64(c.AuditAge)},
	} {
		if bound.is < 1 {
			faults = append(faults, env.Faultf(bound.variable, "expected more than zero"))
		}
	}
	return faults
}

// Store is the database. *sqlite.Store and *postgres.Store are.
type Store interface {
	rights.Store
	audit.Store
	control.Keys

	// Convert makes hashes of those that have no key, and returns how many there
	// were. HashedBy counts the keys that are good by the id of their hash key.
	Convert(ctx context.Context, hash func(auth.Hash) auth.Hash) (int, error)
	HashedBy(ctx context.Context) (map[string]int, error)

	// Sound returns an error where what is stored is lost or damaged, so that an
	// operator has to act. A database that is away for a while is sound.
	Sound(ctx context.Context) error
}

// Limits are how much callers may have, which the gateway's file says too.
type Limits interface {
	// Check reports why a file cannot be in force.
	Check(f *gatewayfile.File) error

	// Use puts a file that was checked in force.
	Use(f *gatewayfile.File)
}

// Callers is what knows who may call.
type Callers struct {
	config   Config
	limits   Limits
	store    Store
	hasher   *auth.Hasher
	rights   *rights.Mirror
	refusals *audit.Recorder
	tokens   *jwt.Verifier
	file     *gatewayfile.Follower
	recorded int64 // the generation of the file that was recorded last
	logger   *slog.Logger

	unchecked *unchecked
	reported  map[string]bool // ids of hash keys that are missing
	unsound   atomic.Bool     // the database is, and that was logged
}

// Open reads what is stored. The database is its owner's to close, after Run; limits
// may be nil.
func Open(ctx context.Context, config Config, store Store, hashKeys []auth.HashKey, limits Limits, tel *telemetry.Telemetry) (*Callers, error) {
	hasher, err := auth.NewHasher(hashKeys...)
	if err != nil {
		return nil, err
	}
	c := &Callers{config: config, limits: limits, store: store, hasher: hasher, logger: tel.Logger, reported: map[string]bool{}}
	if err := c.checkHashes(ctx); err != nil {
		return nil, err
	}
	if c.rights, err = rights.NewMirror(store, gatewayfile.Default().Stale, tel.Registry, tel.Logger); err != nil {
		return nil, err
	}
	if c.refusals, err = audit.NewRecorder(store, audit.Retention{Age: config.AuditAge, Entries: config.AuditEntries}, tel.Registry, tel.Logger); err != nil {
		return nil, err
	}
	if err := c.measure(tel.Registry); err != nil {
		return nil, err
	}
	if err := c.rights.Poll(ctx); err != nil {
		return nil, err
	}
	if c.unchecked, err = newUnchecked(c.rights, hasher, tel.Registry); err != nil {
		return nil, err
	}
	c.report()
	if err := c.follow(ctx, tel); err != nil {
		return nil, err
	}
	return c, nil
}

// checkHashes has all keys hashed by a key.
func (c *Callers) checkHashes(ctx context.Context) error {
	converted, err := c.store.Convert(ctx, c.hasher.Convert)
	if err != nil {
		return fmt.Errorf("hash the stored keys: %w", err)
	}
	if converted > 0 {
		c.logger.Info("stored keys were hashed with the hash key", "keys", converted)
	}
	by, err := c.store.HashedBy(ctx)
	if err != nil {
		return fmt.Errorf("look at the stored keys: %w", err)
	}
	if len(by) > 1 {
		c.logger.Info("keys are hashed with several hash keys; each that is used is hashed anew", "keys_by_hash_key", by)
	}
	return nil
}

// Wire gives a gateway what knows who may call.
func (c *Callers) Wire(deps *gateway.Deps) {
	deps.Rights, deps.Hasher, deps.Keys, deps.Audit, deps.Refusals = c.rights, c.hasher, c.store, c.store, c.refusals
	deps.Authenticators, deps.File = append(deps.Authenticators, tokens{c.tokens, c.rights}), c.file
	deps.Troubles = c.troubles
	deps.Bounds = access.Bounds{Keys: c.config.TenantKeys, Roles: c.config.TenantRoles, Grants: c.config.TenantGrants}
}

// Rights is the copy of keys, roles and grants.
func (c *Callers) Rights() *rights.Mirror { return c.rights }

// Hasher hashes keys' secrets.
func (c *Callers) Hasher() *auth.Hasher { return c.hasher }

// Ready reports whether credentials can be checked, and changes stored where the
// database answers.
func (c *Callers) Ready(ctx context.Context) error {
	if err := c.rights.Usable(); err != nil {
		return err
	}
	return c.sound(ctx)
}

// sound logs why the database is not, once.
func (c *Callers) sound(ctx context.Context) error {
	err := c.store.Sound(ctx)
	if is := err != nil; c.unsound.Swap(is) != is {
		if is {
			c.logger.ErrorContext(ctx, "the gateway's database is not sound: somebody has to act", "error", err)
		} else {
			c.logger.InfoContext(ctx, "the gateway's database is sound again")
		}
	}
	if err != nil {
		return problem.New(problem.Unavailable, "the gateway's database is lost or damaged: the gateway's log says how")
	}
	return nil
}

// measure registers what shows that the database is not sound.
func (c *Callers) measure(registry prometheus.Registerer) error {
	err := registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "modelserve_gateway_database_sound", Help: "1, or 0 while the gateway's database is lost or damaged, so that somebody has to act.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if c.sound(ctx) != nil {
			return 0
		}
		return 1
	}))
	if err != nil {
		return fmt.Errorf("register the database's metric: %w", err)
	}
	return nil
}

// Run keeps all of it current until ctx ends, and stores what is left to store.
func (c *Callers) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { c.rights.Run(ctx) })
	work.Go(func() { c.refusals.Run(ctx) })
	work.Go(func() { c.file.Run(ctx) })
	work.Go(func() { c.watch(ctx) })
	work.Wait()
	c.tokens.Close()
}

// Good reports whether a key's text is that of a key that is good.
func (c *Callers) Good(text string) bool {
	parsed, err := auth.ParseKey(text)
	if err != nil {
		return false
	}
	key := c.rights.Key(parsed.ID)
	if key == nil || key.Status(time.Now()) != auth.Active {
		return false
	}
	ok, _ := c.hasher.Matches(parsed, key.Hash)
	return ok
}

// Create stores a new key, as the operator, and returns its text.
func (c *Callers) Create(ctx context.Context, spec auth.KeySpec) (string, error) {
	text, key, err := c.hasher.NewKey(spec, time.Now())
	if err != nil {
		return "", err
	}
	return text, c.rights.Update(ctx, func(*access.State) (*rights.Stored, error) { return made(key), nil })
}

// made is what is stored of a key that the operator made.
func made(key *auth.Key) *rights.Stored {
	return &rights.Stored{Change: access.Change{Keys: []*auth.Key{key}}, Entries: []audit.Entry{{
		At: time.Now(), Tenant: key.Tenant, Actor: "gateway", Action: "key.create", Resource: "key:" + key.ID, Outcome: audit.Done,
	}}}
}

// Import stores a key that was made elsewhere, unless it is there. One that was
// revoked stays so.
func (c *Callers) Import(ctx context.Context, text string, spec auth.KeySpec) error {
	key, err := c.hasher.ImportKey(text, spec, time.Now())
	if err != nil {
		return err
	}
	key.Imported = true
	parsed, err := auth.ParseKey(text)
	if err != nil {
		return err
	}
	return c.rights.Update(ctx, func(*access.State) (*rights.Stored, error) {
		stored, err := c.store.Key(ctx, key.ID)
		switch {
		case errors.Is(err, auth.ErrNoKey):
			return made(key), nil
		case err != nil:
			return nil, err
		}
		if ok, _ := c.hasher.Matches(parsed, stored.Hash); !ok && c.hasher.Knows(stored.Hash) {
			return nil, errors.New("another key with the same id is stored already; make a key with a new id")
		}
		if stored.Status(time.Now()) != auth.Active {
			c.logger.Warn("the key that is to be imported was revoked, or has ended, and stays so: make another one", "key", key.ID)
		}
		return &rights.Stored{}, nil
	})
}
