// What is special to version 1 of the TypeScript SDK (@modelcontextprotocol/sdk).

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

// The SDK keeps the version to itself; the transport is told it.
let version;

export function create(mode, handlers) {
  if (mode === "modern") throw new Error("version 1 of the SDK does not speak 2026-07-28");
  const client = new Client(
    { name: "interop-ts-v1", version: "1.0.0" },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  client.setRequestHandler(CreateMessageRequestSchema, handlers.sample);
  client.setRequestHandler(ElicitRequestSchema, handlers.elicit);
  client.setNotificationHandler(LoggingMessageNotificationSchema, handlers.log);
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, handlers.note);
  client.setNotificationHandler(ToolListChangedNotificationSchema, handlers.note);
  return client;
}

export function connect(client, mode, url) {
  const Transport = mode === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  const transport = new Transport(url);
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (negotiated) => {
    version = negotiated;
    tell?.(negotiated);
  };
  return client.connect(transport);
}

export function negotiated() {
  return version;
}

export function call(client, params, options) {
  return client.callTool(params, undefined, options);
}

// Calls a tool as a task (the experimental tasks of 2025-11-25) and waits for its result.
export async function task(client, params) {
  for await (const message of client.experimental.tasks.callToolStream(params, undefined, { task: { ttl: 60_000 } })) {
    if (message.type === "error") throw message.error;
    if (message.type === "result") return message.result;
  }
  throw new Error("the task ended without a result");
}

// Asks for notifications and returns what stops them.
export async function watch(client, mode, filter) {
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
