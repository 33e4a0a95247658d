// The signing keys of the identity provider: one of each algorithm, replaced when a test says so.

import * as jose from "jose";

const ALGORITHMS = ["ES256", "RS256"];

let made = 0;

async function make(algorithm) {
  const { privateKey } = await jose.generateKeyPair(algorithm, { extractable: true });
  made += 1;
  return { ...(await jose.exportJWK(privateKey)), kid: `key-${made}`, alg: algorithm, use: "sig" };
}

export class Keys {
  // New keys sign; of those before, the last ones stay published where `keeps` says so.
  async rotate(keeps) {
    const before = keeps ? (this.signing ?? []) : [];
    this.signing = await Promise.all(ALGORITHMS.map(make));
    this.all = [...this.signing, ...before];
    // A key that is published nowhere.
    this.stranger ??= await make("ES256");
  }

  // What oidc-provider signs with: the first key of an algorithm.
  jwks() {
    return { keys: this.all };
  }

  // Signs what no provider would issue. `key` is an algorithm (the signing key of it), "stranger" (a key that nobody
  // knows, under the name of the signing one) or "none" (no signature at all).
  async mint({ key = "ES256", header = {}, payload }) {
    if (key === "none") {
      const parts = [{ alg: "none", typ: "at+jwt", ...header }, payload];
      return `${parts.map((part) => jose.base64url.encode(JSON.stringify(part))).join(".")}.`;
    }
    const published = this.signing.find(({ alg }) => alg === (key === "stranger" ? "ES256" : key));
    const jwk = key === "stranger" ? this.stranger : published;
    const sign = new jose.SignJWT(payload).setProtectedHeader({
      alg: jwk.alg,
      typ: "at+jwt",
      kid: published.kid,
      ...header,
    });
    return sign.sign(await jose.importJWK(jwk));
  }

  // The claims of a token that one of these keys signed; anything else is an error.
  async claims(token) {
    const known = jose.createLocalJWKSet({ keys: this.all.map(open) });
    return (await jose.jwtVerify(token, known)).payload;
  }
}

function open({ d, p, q, dp, dq, qi, ...rest }) {
  return rest;
}
