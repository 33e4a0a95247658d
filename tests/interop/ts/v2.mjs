// What is special to version 2 of the TypeScript SDK (@modelcontextprotocol/client).

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const NOTES = ["notifications/resources/updated", "notifications/tools/list_changed"];

export function create(mode, handlers) {
  const client = new Client(
    { name: "interop-ts-v2", version: "1.0.0" },
    {
      capabilities: { sampling: {}, elicitation: {} },
      versionNegotiation: { mode: mode === "modern" ? "auto" : "legacy" },
    },
  );
  client.setRequestHandler("sampling/createMessage", handlers.sample);
  client.setRequestHandler("elicitation/create", handlers.elicit);
  client.setNotificationHandler("notifications/message", handlers.log);
  for (const method of NOTES) client.setNotificationHandler(method, handlers.note);
  return client;
}

export function connect(client, mode, url) {
  const Transport = mode === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return client.connect(new Transport(url));
}

export function negotiated(client) {
  return client.getNegotiatedProtocolVersion();
}

export function call(client, params, options) {
  return client.callTool(params, options);
}

// Asks for notifications in the form of the era and returns what stops them.
export async function watch(client, mode, filter) {
  if (mode === "modern") {
    const subscription = await client.listen(filter);
    return () => subscription.close();
  }
  const uris = filter.resourceSubscriptions ?? [];
  for (const uri of uris) await client.subscribeResource({ uri });
  return async () => {
    for (const uri of uris) await client.unsubscribeResource({ uri });
  };
}

export async function end(client) {
  await client.transport?.terminateSession?.();
  await client.close();
}
