// A real issuer of tokens for the tests: oidc-provider, with its own development
// pages. It prints its URL and runs until its standard input ends.
//
// Clients: `machine` (secret `secret`) by client credentials, `cli` by the device flow.
// Access tokens are JWTs for `modelserve`, of the tenant `acme`.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const resource = 'urn:modelserve';
const key = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' };
const rsa = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'k2', alg: 'RS256', use: 'sig' };

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  jwks: { keys: [key, rsa] },
  cookies: { keys: ['of a test'] },
  scopes: ['openid', 'offline_access', 'api'],
  clients: [
    { client_id: 'machine', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
    {
      client_id: 'cli',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'api',
        audience: 'modelserve',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  ttl: { DeviceCode: 600, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  issueRefreshToken: async () => true,
  extraTokenClaims: (_ctx, token) => ({ org: 'acme', groups: [token.kind === 'ClientCredentials' ? 'invoker' : 'deployer'] }),
  findAccount: (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
});
server.on('request', provider.callback());
console.log(issuer);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
