// Version 2 of the TypeScript SDK: npm `@modelcontextprotocol/client`, which speaks both eras.

import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

export { ClientCredentialsProvider };

export function newClient(mode) {
  const versionNegotiation = { mode: mode === "modern" ? "auto" : "legacy" };
  return new Client({ name: "identity-ts-v2", version: "1.0.0" }, { versionNegotiation });
}

export function newTransport(url, authProvider) {
  return new StreamableHTTPClientTransport(url, { authProvider });
}

export function wantsPerson(error) {
  return error instanceof UnauthorizedError;
}

export function finish(transport, returned) {
  return transport.finishAuth(returned);
}
