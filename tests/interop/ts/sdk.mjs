// What the two major versions of the TypeScript SDK share: their `Client` has the same methods.

import { answer, check, pages, texts } from "./features.mjs";

const REQUEST_MS = 20_000;
const LOG_LEVEL = "debug";
const LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel";
const PROGRESS = "notifications/progress";

// A connected `Client` of the SDK; what the versions do differently is in subclasses.
export class Sdk {
  constructor(mode) {
    this.modern = mode === "modern";
    this.client = undefined;
    this.progress = undefined;
    this.notes = [];
    this.wake = () => {};
  }

  // What the server asks of the client, and what it tells.

  handlers(host) {
    return {
      sample: () => ({
        role: "assistant",
        content: { type: "text", text: host.sample() },
        model: "driver",
        stopReason: "endTurn",
      }),
      elicit: () => ({ action: "accept", content: host.elicit() }),
      log: (note) => host.logs.push(note.params),
      note: (note) => {
        this.notes.push(note);
        this.wake();
      },
    };
  }

  // Hands over progress before the SDK has it, which drops what arrives together with the answer (typescript-sdk issue
  // 2580).
  observe() {
    const { transport } = this.client;
    const deliver = transport.onmessage;
    transport.onmessage = (message, extra) => {
      if (message.method === PROGRESS) this.progress?.(message.params.progress);
      return deliver?.call(transport, message, extra);
    };
  }

  async tools() {
    const tools = await pages((params) => this.client.listTools(params, { cacheMode: "refresh" }), "tools");
    return tools.map((tool) => tool.name);
  }

  async call(name, args, { progress, signal } = {}) {
    const params = { name, arguments: args };
    // A modern server logs only for a request that asks for it.
    if (this.modern) params._meta = { [LOG_LEVEL_KEY]: LOG_LEVEL };
    let called = false;
    this.progress = progress;
    const onprogress = progress && (() => (called = true));
    const result = await this.request(params, { timeout: REQUEST_MS, signal, onprogress });
    check(called || !progress, "the SDK's callback was not called");
    return answer(result);
  }

  async prompts() {
    const prompts = await pages((params) => this.client.listPrompts(params), "prompts");
    return prompts.map((prompt) => prompt.name);
  }

  async prompt(name, args) {
    const { messages } = await this.client.getPrompt({ name, arguments: args });
    return texts(messages.map((message) => message.content));
  }

  async resources() {
    const resources = await pages((params) => this.client.listResources(params), "resources");
    return resources.map((resource) => resource.uri);
  }

  async templates() {
    const templates = await pages((params) => this.client.listResourceTemplates(params), "resourceTemplates");
    return templates.map((template) => template.uriTemplate);
  }

  async read(uri) {
    return texts((await this.client.readResource({ uri })).contents);
  }

  async complete(prompt, argument, value) {
    const ref = { type: "ref/prompt", name: prompt };
    const { completion } = await this.client.complete({ ref, argument: { name: argument, value } });
    return completion.values;
  }

  async logEverything() {
    if (!this.modern && this.client.getServerCapabilities()?.logging) await this.client.setLoggingLevel(LOG_LEVEL);
  }

  async updates(uri) {
    const isIt = (note) => note.params.uri === uri;
    const close = await this.subscribe({ resourceSubscriptions: [uri] });
    return { next: () => this.noted("notifications/resources/updated", isIt), close };
  }

  async changes() {
    const close = await this.subscribe({ toolsListChanged: true });
    return { next: () => this.noted("notifications/tools/list_changed"), close };
  }

  // Asks for notifications in the legacy era's way and returns what stops them.
  async subscribe({ resourceSubscriptions: uris = [] }) {
    for (const uri of uris) await this.client.subscribeResource({ uri });
    return async () => {
      for (const uri of uris) await this.client.unsubscribeResource({ uri });
    };
  }

  // Waits for a notification of one method; others stay.
  async noted(method, isIt = () => true) {
    for (;;) {
      const at = this.notes.findIndex((note) => note.method === method && isIt(note));
      if (at >= 0) return this.notes.splice(at, 1)[0];
      await new Promise((resolve) => (this.wake = resolve));
    }
  }

  async close() {
    await this.client.transport?.terminateSession?.();
    await this.client.close();
  }
}
