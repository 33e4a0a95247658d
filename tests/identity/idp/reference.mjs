// A protected MCP server in a few lines, without the gateway: when a client does not dance with this one either, it is not
// the gateway that is wrong.
//
// Usage: node reference.mjs ISSUER
//
// It has the tools `read` and `write`, of which the second needs the scope `files:write`, speaks both eras without keeping
// anything, and says `listening on URL`.

import { text } from "node:stream/consumers";

import * as jose from "jose";

import { listen, server } from "./serving.mjs";

const issuer = process.argv[2];
const PATH = "/mcp/tools";
const METADATA = `/.well-known/oauth-protected-resource${PATH}`;
const SCOPES = ["mcp", "files:read"];
const MORE = "files:write";
const MODERN = "2026-07-28";

const keys = jose.createRemoteJWKSet(new URL(`${issuer}/jwks`));
const kept = { resultType: "complete", ttlMs: 0, cacheScope: "private" };
const capabilities = { tools: {} };
const serverInfo = { name: "reference", version: "1.0.0" };

const methods = {
  initialize: ({ protocolVersion }) => ({ protocolVersion, capabilities, serverInfo }),
  "server/discover": () => ({ ...kept, supportedVersions: [MODERN], capabilities, serverInfo }),
  "tools/list": () => ({ ...kept, tools: ["read", "write"].map((name) => ({ name, inputSchema: { type: "object" } })) }),
  "tools/call": ({ name }) => ({ resultType: "complete", content: [{ type: "text", text: `files:${name}` }] }),
};

function challenge(response, status, error, scopes) {
  const metadata = `resource_metadata="${base}${METADATA}", scope="${scopes.join(" ")}"`;
  response.writeHead(status, { "www-authenticate": `Bearer ${error ? `error="${error}", ` : ""}${metadata}` }).end();
}

function say(response, body) {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function claimsOf(request) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization)?.[1];
  if (!token) return { missing: true };
  return jose
    .jwtVerify(token, keys, { issuer, audience: `${base}${PATH}`, algorithms: ["ES256"] })
    .then(({ payload }) => payload, () => ({ bad: true }));
}

async function serve(request, response) {
  if (request.url === METADATA) {
    say(response, { resource: `${base}${PATH}`, authorization_servers: [issuer], scopes_supported: SCOPES });
    return;
  }
  const claims = await claimsOf(request);
  if (claims.missing || claims.bad) {
    challenge(response, 401, claims.bad && "invalid_token", SCOPES);
    return;
  }
  if (request.method !== "POST") {
    response.writeHead(405).end();
    return;
  }
  const { id, method, params } = JSON.parse(await text(request));
  const needsMore = method === "tools/call" && params.name === "write";
  if (needsMore && !claims.scope.split(" ").includes(MORE)) {
    challenge(response, 403, "insufficient_scope", [...SCOPES, MORE]);
  } else if (id === undefined) {
    response.writeHead(202).end();
  } else if (methods[method]) {
    say(response, { jsonrpc: "2.0", id, result: methods[method](params) });
  } else {
    say(response, { jsonrpc: "2.0", id, error: { code: -32601, message: "method not found" } });
  }
}

const base = await listen(server(serve));
console.log(`listening on ${base}${PATH}`);
