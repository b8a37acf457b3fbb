// An OpenID provider for the tests: oidc-provider, with clients that are given tokens as JWT.
//
//   node provider.mjs ISSUER PORT JWKS-FILE
//
// A client's name is that of a user; what comes after a dash are groups. The resource says the
// audience and, after a slash, the life of the token in seconds: urn:fanfold, urn:fanfold/2.
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const [issuer, port, file] = process.argv.slice(2);

const client = (id) => ({
  client_id: id,
  client_secret: 'a secret of the tests',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

const provider = new Provider(issuer, {
  jwks: JSON.parse(readFileSync(file, 'utf8')),
  clients: ['alice', 'alice-admins', 'alice-guests', 'bob', 'stranger'].map(client),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(ctx, resource) {
        const [audience, life] = resource.replace('urn:', '').split('/');
        return {
          scope: '',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: Number(life ?? 600),
        };
      },
    },
  },
  extraTokenClaims(ctx, token) {
    const [user, ...groups] = token.clientId.split('-');
    return { preferred_username: user, realm: { groups } };
  },
});

provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
