// Who the identity provider knows: people, and the programs that were registered before the tests.

// What goes into their tokens as claims, beside who they are.
export const PEOPLE = {
  alice: { groups: ["engineers", "oncall"], org: "acme" },
  bob: { groups: ["support"], org: "globex" },
};

// The same for programs that act for themselves.
export const PROGRAMS = { robot: { org: "acme" }, batch: { org: "globex" } };

export const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

const GRANTS = ["authorization_code", "refresh_token"];

// Programs with a secret, which equals their name and says so: nothing but a test on loopback ever sees it.
const confidential = (client_id, grant_types, scope) => ({
  client_id,
  client_secret: `secret-of-${client_id}`,
  grant_types,
  response_types: [],
  redirect_uris: [],
  token_endpoint_auth_method: "client_secret_basic",
  ...(scope && { scope }),
});

export const CLIENTS = [
  // Workloads that act for themselves.
  confidential("robot", ["client_credentials"]),
  confidential("batch", ["client_credentials"]),
  // A workload that acts for a person.
  confidential("assistant", ["client_credentials", EXCHANGE]),
  // Who asks what opaque tokens are.
  confidential("gateway", ["client_credentials"]),
  // A program on a desk, without a secret: any port of loopback is its redirect (RFC 8252).
  {
    client_id: "desk",
    application_type: "native",
    grant_types: GRANTS,
    response_types: ["code"],
    redirect_uris: ["http://127.0.0.1/callback"],
    token_endpoint_auth_method: "none",
  },
];
