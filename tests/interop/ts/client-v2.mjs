// Version 2 of the TypeScript SDK: npm `@modelcontextprotocol/client`.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

import { Sdk } from "./sdk.mjs";

const NOTES = ["notifications/resources/updated", "notifications/tools/list_changed"];

class V2 extends Sdk {
  get version() {
    return this.client.getNegotiatedProtocolVersion();
  }

  request(params, options) {
    return this.client.callTool(params, options);
  }

  async subscribe(filter) {
    if (!this.modern) return super.subscribe(filter);
    const subscription = await this.client.listen(filter);
    return () => subscription.close();
  }
}

export async function connect(target, mode, host) {
  const sdk = new V2(mode);
  const handlers = sdk.handlers(host);
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
  const Transport = mode === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  sdk.client = client;
  await client.connect(new Transport(new URL(target)));
  sdk.observe();
  return sdk;
}
