// Version 1 of the TypeScript SDK: npm `@modelcontextprotocol/sdk`, which speaks the legacy era alone.

import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { ClientCredentialsProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

export { ClientCredentialsProvider };

export function newClient() {
  return new Client({ name: "identity-ts-v1", version: "1.0.0" });
}

export function newTransport(url, authProvider) {
  return new StreamableHTTPClientTransport(url, { authProvider });
}

export function wantsPerson(error) {
  return error instanceof UnauthorizedError;
}

export function finish(transport, returned) {
  return transport.finishAuth(returned.get("code"));
}
