// The identity provider: npm `oidc-provider` with what MCP asks of one, in one process and on loopback alone.
//
// Authorization code with PKCE, refresh, client credentials, token exchange (RFC 8693, the exchanging client becomes
// `act`), dynamic registration (RFC 7591), client id metadata documents, resource indicators (RFC 8707: the audience of
// a token is the resource that was asked for) and introspection (RFC 7662). A person signs in and consents by a header
// of the user agent: see `interact`.

import { randomBytes } from "node:crypto";

import { Provider, errors } from "oidc-provider";

import { CLIENTS, EXCHANGE, PEOPLE, PROGRAMS } from "./people.mjs";

// What a resource may be asked for. `files:write` is for tests that need more than they began with.
const SCOPES = "mcp files:read files:write";

// A resource is an MCP endpoint on loopback; anything else is refused, as a provider that knows its resources would.
const RESOURCE = /^https?:\/\/(127\.0\.0\.1|localhost):\d+\//;

const HOUR = 3600;
// What says how long its tokens live is the resource that they are for: see `resourceServer`.
const ofResource = (_, token) => token.resourceServer?.accessTokenTTL ?? HOUR;
const TTL_SECONDS = {
  AccessToken: ofResource,
  AuthorizationCode: 60,
  ClientCredentials: ofResource,
  Grant: HOUR,
  IdToken: HOUR,
  Interaction: HOUR,
  RefreshToken: HOUR,
  Session: HOUR,
};

const PERSON = "x-person";
const CONSENT = "x-consent";

// What makes one request's tokens different: kept for the time of the request alone.
const actors = new WeakMap();

// A provider with these keys. `settings` are read with each token, and may change.
export function provide(issuer, { keys, settings, documents, Adapter, secrets }) {
  const provider = new Provider(issuer, {
    adapter: Adapter,
    clients: CLIENTS,
    jwks: keys.jwks(),
    cookies: { keys: secrets },
    // Registrations name scopes, and only those that the provider knows.
    scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
    claims: { openid: ["sub"], profile: ["groups", "org"] },
    pkce: { required: () => true },
    findAccount: (_, id) => PEOPLE[id] && { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) },
    issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    extraTokenClaims: (ctx, token) => extraClaims(ctx, token, settings),
    fetch: (url) => metadataDocument(documents, url),
    ttl: TTL_SECONDS,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === "gateway" },
      registration: { enabled: true },
      revocation: { enabled: true },
      clientIdMetadataDocument: { enabled: true, ack: "draft-02" },
      resourceIndicators: {
        enabled: true,
        // Who asks for no resource gets a token that no resource takes.
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => resourceServer(resource, settings),
      },
    },
  });
  provider.registerGrantType(EXCHANGE, (ctx) => exchange(provider, keys, settings, ctx), [
    "subject_token",
    "subject_token_type",
    "resource",
    "scope",
  ]);
  return provider;
}

export function newSecrets() {
  return [randomBytes(32).toString("hex")];
}

function resourceServer(resource, { format, algorithm, ttlSeconds }) {
  if (!RESOURCE.test(resource)) throw new errors.InvalidTarget();
  return {
    scope: SCOPES,
    audience: resource,
    accessTokenFormat: format,
    accessTokenTTL: ttlSeconds,
    jwt: { sign: { alg: algorithm } },
  };
}

function extraClaims(ctx, token, { claims }) {
  const known = token.accountId ? PEOPLE[token.accountId] : PROGRAMS[token.clientId];
  return { ...known, ...actors.get(ctx), ...claims };
}

function metadataDocument(documents, url) {
  const document = documents.get(String(url));
  return document ? Response.json(document) : new Response("", { status: 404 });
}

// RFC 8693: a workload that holds a person's token gets one of its own, for the person, with itself as the actor.
async function exchange(provider, keys, settings, ctx) {
  const { subject_token: held, resource, scope } = ctx.oidc.params;
  const { client } = ctx.oidc;
  const subject = await keys.claims(held).catch(() => {
    throw new errors.InvalidGrant("the subject token is not ours");
  });
  const actor = { sub: client.clientId, ...(subject.act && { act: subject.act }) };
  actors.set(ctx, { act: actor });
  const token = new provider.AccessToken({ accountId: subject.sub, client, scope: scope ?? subject.scope, gty: "exchange" });
  token.resourceServer = new provider.ResourceServer(resource, resourceServer(resource, settings));
  ctx.oidc.entity("AccessToken", token);
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
    token_type: "Bearer",
    expires_in: token.expiration,
    scope: token.scope,
  };
}

// What a person does in a browser. The user agent says who sits at it (`x-person: alice`) and whether the person agrees
// (`x-consent: no` refuses); without a person nobody signs in.
export async function interact(provider, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  const person = request.headers[PERSON];
  let result;
  if (!PEOPLE[person] || request.headers[CONSENT] === "no") {
    result = { error: "access_denied", error_description: "nobody consents" };
  } else if (prompt.name === "login") {
    result = { login: { accountId: person } };
  } else {
    result = { consent: { grantId: await consent(provider, { prompt, params, session, grantId }) } };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: !result.error });
}

async function consent(provider, { prompt: { details }, params, session, grantId }) {
  const held = grantId && (await provider.Grant.find(grantId));
  const grant = held ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (details.missingOIDCScope) grant.addOIDCScope(details.missingOIDCScope.join(" "));
  if (details.missingOIDCClaims) grant.addOIDCClaims(details.missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  return grant.save();
}
