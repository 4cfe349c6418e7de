package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/oauth2"

	"github.com/modelserveai/modelserve/internal/regular"
)

// renewBefore is how long before its end a token is renewed.
const renewBefore = 30 * time.Second

// logins are by the platform's address: a token goes to no other.
type logins map[string]*login

// login is what is kept of one.
type login struct {
	Issuer   string    `json:"issuer"`
	ClientID string    `json:"client_id"`
	Scopes   []string  `json:"scopes"`
	TokenURL string    `json:"token_url"`
	Token    string    `json:"token"`             // what the platform gets
	Refresh  string    `json:"refresh,omitempty"` // what the issuer gets, for the next
	Expires  time.Time `json:"expires,omitzero"`
}

func (l *login) config() *oauth2.Config {
	return &oauth2.Config{
		ClientID: l.ClientID, Scopes: l.Scopes,
		Endpoint: oauth2.Endpoint{TokenURL: l.TokenURL, AuthStyle: oauth2.AuthStyleInParams},
	}
}

// take keeps an issuer's answer: the access token if it is a JWT, which the platform
// can read, else the ID token.
func (l *login) take(token *oauth2.Token) {
	l.Token, l.Expires = token.AccessToken, token.Expiry.UTC()
	if id, ok := token.Extra("id_token").(string); ok && strings.Count(token.AccessToken, ".") != 2 {
		l.Token = id
	}
	if token.RefreshToken != "" {
		l.Refresh = token.RefreshToken
	}
}

// good reports whether the token may be sent.
func (l *login) good(now time.Time) bool {
	return l.Expires.IsZero() || now.Add(renewBefore).Before(l.Expires)
}

// renew takes the next token (RFC 6749, section 6).
func (l *login) renew(ctx context.Context) error {
	if l.Refresh == "" {
		return errors.New("it may not be renewed")
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, issuerClient())
	token, err := l.config().TokenSource(ctx, &oauth2.Token{RefreshToken: l.Refresh}).Token()
	if err != nil {
		return err //nolint:wrapcheck // the caller names the issuer
	}
	l.take(token)
	return nil
}

// loginFile is where logins are kept.
type loginFile struct{ path string }

// loginFile is token.json in the user's configuration.
func (a *app) loginFile() (loginFile, error) {
	dir := a.vars.Config
	if dir == "" && a.vars.Home != "" {
		dir = filepath.Join(a.vars.Home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return loginFile{}, errors.New("there is no folder to keep a login in: HOME is not set")
	}
	return loginFile{filepath.Join(dir, "modelserve", "token.json")}, nil
}

// read returns the logins; without a file there are none.
func (f loginFile) read() (logins, error) {
	text, err := regular.Read(f.path, maxStateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return logins{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read logins: %w", err)
	}
	all := logins{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read %s: it is damaged; remove it, and run `modelserve login`", f.path)
	}
	return all, nil
}

// change reads, changes and writes the logins, one process at a time: a refresh token
// that is used twice may end the login.
func (f loginFile) change(how func(logins) error) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("keep a login: %w", err)
	}
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keep a login: %w", err)
	}
	defer lock.Close() // which unlocks it
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	all, err := f.read()
	if err != nil {
		return err
	}
	if err := how(all); err != nil {
		return err
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("keep a login: %w", err)
	}
	if err := regular.Replace(f.path, text, 0o600); err != nil {
		return fmt.Errorf("keep a login: %w", err)
	}
	return nil
}

// token is a good one for the platform at server, renewed where it has to be; "" is
// no login.
func (f loginFile) token(ctx context.Context, server string) (string, error) {
	all, err := f.read()
	if err != nil {
		return "", err
	}
	found := all[server]
	switch {
	case found == nil:
		return "", nil
	case found.good(time.Now()):
		return found.Token, nil
	}
	err = f.change(func(all logins) error {
		if found = all[server]; found == nil || found.good(time.Now()) {
			return nil // another process was first
		}
		if err := found.renew(ctx); err != nil {
			return fmt.Errorf("renew the login with %s: %w; run `modelserve login`", found.Issuer, err)
		}
		return nil
	})
	if err != nil || found == nil {
		return "", err
	}
	return found.Token, nil
}
