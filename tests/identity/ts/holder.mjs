// What an application keeps for the SDK's OAuth client: its registration, its tokens, and a person to ask.
//
// Both major versions of the TypeScript SDK take the same object. `forge` replaces the access token by one that no
// server takes, as if it had been revoked, and leaves the refresh token; `unrefresh` takes that away alone.

import { randomUUID } from "node:crypto";

import { authorize } from "./person.mjs";

const REDIRECT = "http://127.0.0.1:9/callback";

export class Holder {
  // `client` says how the program is known: `{}` (it registers itself), `{"id": …, "issuer": …}` (it was registered there) or
  // `{"url": …}` (its metadata is at a URL).
  constructor({ person, consents, client = {} }) {
    this.person = person;
    this.consents = consents;
    this.information = client.id && { client_id: client.id, issuer: client.issuer };
    this.clientMetadataUrl = client.url;
    this.visits = 0;
    this.grants = 0;
  }

  get redirectUrl() {
    return REDIRECT;
  }

  get clientMetadata() {
    return {
      client_name: "tests of identity",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  state() {
    this.sent = randomUUID();
    return this.sent;
  }

  clientInformation() {
    return this.information;
  }

  saveClientInformation(information) {
    this.information = information;
  }

  tokens() {
    return this.held;
  }

  saveTokens(tokens) {
    this.grants += 1;
    this.held = tokens;
  }

  async redirectToAuthorization(url) {
    this.visits += 1;
    const { person, consents } = this;
    this.returned = await authorize(url, { person, consents, redirect: REDIRECT });
    if (this.returned.get("state") !== this.sent) throw new Error("the state that came back is not ours");
  }

  saveCodeVerifier(verifier) {
    this.verifier = verifier;
  }

  codeVerifier() {
    return this.verifier;
  }

  // Where the last authorization began, so that its answer is held against the same provider.
  saveDiscoveryState(state) {
    this.discovered = state;
  }

  discoveryState() {
    return this.discovered;
  }

  forge() {
    this.held = { ...this.held, access_token: "revoked" };
  }

  // Leaves nothing to refresh with: the next need for a token is one for the person.
  unrefresh() {
    const { refresh_token, ...rest } = this.held;
    this.held = rest;
  }
}
