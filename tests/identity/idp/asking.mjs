// Asks the identity provider for tokens as programs do, for tests that are about the tokens and not about a client.

import { createHash, randomBytes } from "node:crypto";

import { authorize } from "./person.mjs";

const DESK = "desk";
const REDIRECT = "http://127.0.0.1:9/callback";

// What the program `desk` gets for a person, by authorization code and PKCE.
export async function tokensOf(issuer, { person, ...asked }) {
  const verifier = randomBytes(32).toString("base64url");
  const request = new URLSearchParams({
    client_id: DESK,
    response_type: "code",
    redirect_uri: REDIRECT,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...asked,
  });
  const returned = await authorize(`${issuer}/auth?${request}`, { person, redirect: REDIRECT });
  if (returned.has("error")) throw new Error(`the provider refused: ${returned}`);
  const { scope, ...rest } = asked;
  return token(issuer, {}, {
    grant_type: "authorization_code",
    client_id: DESK,
    code: returned.get("code"),
    redirect_uri: REDIRECT,
    code_verifier: verifier,
    ...rest,
  });
}

// What a program with a secret gets (people.mjs says what the secret is).
export function granted(issuer, { client, parameters }) {
  const credentials = Buffer.from(`${client}:secret-of-${client}`).toString("base64");
  return token(issuer, { authorization: `Basic ${credentials}` }, parameters);
}

async function token(issuer, headers, parameters) {
  const response = await fetch(`${issuer}/token`, { method: "POST", headers, body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`no tokens: ${JSON.stringify(answer)}`);
  return answer;
}

// Takes a token of a program without a secret back (RFC 7009).
export async function revoked(issuer, { client, token: held }) {
  const body = new URLSearchParams({ client_id: client, token: held });
  const response = await fetch(`${issuer}/token/revocation`, { method: "POST", body });
  if (!response.ok) throw new Error(`not revoked: ${response.status} ${await response.text()}`);
  return {};
}
