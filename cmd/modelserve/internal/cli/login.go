package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

// The bounds of what an issuer answers.
const (
	maxMetadata = 1 << 20 // bytes
	maxInterval = 60      // seconds between two questions whether a login is done
)

func (a *app) loginCommand() *cobra.Command {
	var asked login
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in with an issuer of tokens that the platform trusts",
		Long: `Log in with an issuer of tokens: it shows an address and a code for a browser
anywhere (RFC 8628). The tokens are kept for the platform's address, in
modelserve/token.json of the user's configuration, and renewed as long as the
issuer allows. A key goes before them.

The platform names the issuer, the client and what to ask for; --issuer chooses
where it names several. With --issuer and --client-id the platform is not asked.`,
		Example: `  modelserve login --server https://models.example.com
  modelserve login --server https://models.example.com --issuer https://id.example.com
  modelserve login --server https://models.example.com --issuer https://id.example.com --client-id cli`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := a.address()
			if err != nil {
				return err
			}
			file, err := a.loginFile()
			if err != nil {
				return err
			}
			with, err := choose(cmd.Context(), addr.server, asked)
			if err != nil {
				return err
			}
			got, err := a.device(cmd.Context(), with)
			if err != nil {
				return fmt.Errorf("log in with %s: %w", with.Issuer, err)
			}
			if err := file.change(func(all logins) error { all[addr.server] = got; return nil }); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Err, "Logged in to %s.\n", addr.server)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&asked.Issuer, "issuer", "", "the issuer's `URL`, if the platform names several, or none")
	flags.StringVar(&asked.ClientID, "client-id", "", "the `ID` that the issuer knows this command by, in place of the platform's")
	flags.StringSliceVar(&asked.Scopes, "scope", nil, "what to ask for, in place of what the platform says; offline_access lets the login be renewed")
	return cmd
}

// choose completes what the flags say by what the platform at server names.
func choose(ctx context.Context, server string, asked login) (login, error) {
	if asked.Issuer == "" || asked.ClientID == "" {
		named, err := namedLogin(ctx, server, asked.Issuer)
		if err != nil {
			return login{}, err
		}
		asked.Issuer, asked.ClientID = named.Issuer, firstOf(asked.ClientID, named.ClientID)
		if asked.Scopes == nil {
			asked.Scopes = named.Scopes
		}
	}
	if len(asked.Scopes) == 0 {
		asked.Scopes = []string{"openid", "offline_access"}
	}
	return asked, nil
}

// namedLogin asks the platform at server with which issuer people log in: issuer, or
// where that is "" the only one.
func namedLogin(ctx context.Context, server, issuer string) (login, error) {
	var answer struct {
		Issuers []login `json:"issuers"`
	}
	// Without a credential: a login that has ended is no reason to fail.
	if err := newClient(address{server: server}).call(ctx, http.MethodGet, "/v1/login", nil, &answer); err != nil {
		return login{}, fmt.Errorf("ask how to log in: %w", err)
	}
	var names []string
	for _, named := range answer.Issuers {
		if named.Issuer == issuer || issuer == "" && len(answer.Issuers) == 1 {
			asker := server
			if _, err := ofIssuer(server, server); err != nil {
				asker = "" // one elsewhere, in plain text, names no issuer on this machine
			}
			if _, err := ofIssuer(named.Issuer, asker); err != nil {
				return login{}, fmt.Errorf("the issuer that %s names: %w", server, err)
			}
			return named, nil
		}
		names = append(names, visible(named.Issuer))
	}
	switch {
	case len(names) == 0:
		return login{}, fmt.Errorf("%s names no issuer to log in with; use a key, or --issuer and --client-id", server)
	case issuer != "":
		return login{}, usagef("--issuer: expected one of %s, or --client-id beside it", strings.Join(names, ", "))
	}
	return login{}, usagef("%s names several issuers; choose with --issuer: %s", server, strings.Join(names, ", "))
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "Forget the login to the platform",
		Long:    "Forget the tokens that `modelserve login` keeps for the platform's address.",
		Example: `  modelserve logout --server https://models.example.com`,
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			addr, err := a.address()
			if err != nil {
				return err
			}
			file, err := a.loginFile()
			if err != nil {
				return err
			}
			return file.change(func(all logins) error { delete(all, addr.server); return nil })
		},
	}
}

// device logs in by the device flow (RFC 8628).
func (a *app) device(ctx context.Context, asked login) (*login, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, issuerClient())
	endpoint, err := discover(ctx, asked.Issuer)
	if err != nil {
		return nil, err
	}
	asked.TokenURL = endpoint.TokenURL
	config := asked.config()
	config.Endpoint.DeviceAuthURL = endpoint.DeviceAuthURL
	answer, err := config.DeviceAuth(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the issuer
	}
	address, err := ofIssuer(answer.VerificationURI, asked.Issuer)
	if err != nil || answer.DeviceCode == "" {
		return nil, errors.New("it answers no address to log in at")
	}
	answer.Interval = min(max(answer.Interval, 0), maxInterval) // 0 is the default, 5
	text := fmt.Sprintf("Open %s and enter the code %s\n", address, printable(answer.UserCode))
	if whole, err := ofIssuer(answer.VerificationURIComplete, asked.Issuer); err == nil {
		text += fmt.Sprintf("or open %s\n", whole)
	}
	if _, err := io.WriteString(a.Err, text); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was being done
	}
	token, err := config.DeviceAccessToken(ctx, answer)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the issuer
	}
	asked.take(token)
	return &asked, nil
}

// printable is text of an issuer as a terminal may have it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
}

// discover finds an issuer's endpoints (OpenID Connect Discovery 1.0, section 4).
func discover(ctx context.Context, issuer string) (*oauth2.Endpoint, error) {
	if _, err := ofIssuer(issuer, issuer); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller names the issuer
	}
	response, err := issuerClient().Do(request)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the URL
	}
	defer response.Body.Close()
	var document struct {
		Issuer string `json:"issuer"`
		Device string `json:"device_authorization_endpoint"`
		Token  string `json:"token_endpoint"`
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its metadata answers %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxMetadata)).Decode(&document); err != nil {
		return nil, fmt.Errorf("its metadata is not JSON: %w", err)
	}
	if document.Issuer != issuer {
		return nil, fmt.Errorf("its metadata is of another issuer, %q", document.Issuer)
	}
	if document.Device == "" {
		return nil, errors.New("it has no device flow (RFC 8628)")
	}
	for _, endpoint := range []string{document.Device, document.Token} {
		if _, err := ofIssuer(endpoint, issuer); err != nil {
			return nil, err
		}
	}
	return &oauth2.Endpoint{DeviceAuthURL: document.Device, TokenURL: document.Token}, nil
}

// ofIssuer is a URL that an issuer names: https, or http on this machine if the
// issuer is there, too.
func ofIssuer(text, issuer string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("expected https://HOST/…, got %q", text)
	}
	ip := net.ParseIP(u.Hostname())
	here := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme == "https" || u.Scheme == "http" && here && strings.HasPrefix(issuer, "http://") {
		return u, nil
	}
	return nil, fmt.Errorf("expected https://HOST/…, got %q", text)
}

// issuerClient calls issuers. What answers with a redirect gets no code and no token.
func issuerClient() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
