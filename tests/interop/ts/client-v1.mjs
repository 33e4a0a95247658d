// Version 1 of the TypeScript SDK: npm `@modelcontextprotocol/sdk`, which speaks the legacy era alone.

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

import { answer } from "./features.mjs";
import { Sdk } from "./sdk.mjs";

const TASK_TTL_MS = 60_000;

class V1 extends Sdk {
  request(params, options) {
    return this.client.callTool(params, undefined, options);
  }

  // The experimental tasks of 2025-11-25.
  async task(name, args) {
    const stream = this.client.experimental.tasks.callToolStream({ name, arguments: args }, undefined, {
      task: { ttl: TASK_TTL_MS },
    });
    for await (const message of stream) {
      if (message.type === "error") throw message.error;
      if (message.type === "result") return answer(message.result);
    }
    throw new Error("the task ended without a result");
  }
}

export async function connect(target, mode, host) {
  const sdk = new V1(mode);
  const handlers = sdk.handlers(host);
  const client = new Client(
    { name: "interop-ts-v1", version: "1.0.0" },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  client.setRequestHandler(CreateMessageRequestSchema, handlers.sample);
  client.setRequestHandler(ElicitRequestSchema, handlers.elicit);
  client.setNotificationHandler(LoggingMessageNotificationSchema, handlers.log);
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, handlers.note);
  client.setNotificationHandler(ToolListChangedNotificationSchema, handlers.note);
  const Transport = mode === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  const transport = new Transport(new URL(target));
  // The SDK keeps the version to itself; the transport is told it.
  const tell = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (negotiated) => {
    sdk.version = negotiated;
    tell?.(negotiated);
  };
  sdk.client = client;
  await client.connect(transport);
  sdk.observe();
  return sdk;
}
