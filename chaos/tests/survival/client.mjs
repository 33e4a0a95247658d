// Drives a version of the TypeScript SDK: one session, with calls, questions and a subscription, while nodes are lost.
//
// Usage: node client.mjs VERSION URL   (VERSION: v1 for npm `@modelcontextprotocol/sdk`, v2 for `@modelcontextprotocol/client`)
//
// The lines of standard input and output are those of client.py. The SDK is as it is installed; `fetch` is the one of Node, with
// a look at its requests.

import { createInterface } from "node:readline";

const REQUEST_MS = 100_000;

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// A promise, and what fulfils it.
function event() {
  let set;
  const wait = new Promise((resolve) => (set = resolve));
  return { wait, set };
}

// A call, and what was seen of it.
class Call {
  constructor(job) {
    this.job = job;
    this.seen = { id: job.id, text: null, error: null, raised: null, progress: [], asked: 0 };
    this.underWay = event();
    this.replies = event();
  }

  count(progress) {
    this.seen.progress.push(progress);
    if (!this.job.asks) this.underWay.set();
  }

  async ask() {
    this.seen.asked += 1;
    this.underWay.set();
    await this.replies.wait;
    return { action: "accept", content: { number: this.job.number } };
  }

  async run(driver) {
    try {
      const { content } = await driver.call(this);
      this.seen.text = content[0].text;
    } catch (error) {
      // Errors of the protocol have a number; those of the network a cause.
      const { code, message, data = null, cause } = error;
      if (typeof code === "number") this.seen.error = { code, message, data };
      else this.seen.raised = `${error.name}: ${message}${cause ? `: ${cause.message}` : ""}`;
    }
    this.underWay.set();
  }
}

class Driver {
  constructor() {
    this.calls = [];
    this.sessions = [];
    this.initializes = 0;
    this.heard = 0;
    this.news = event();
    this.tokens = new Map();
  }

  // What the SDK tells.

  fetch = (url, init) => {
    const session = new Headers(init?.headers).get("mcp-session-id");
    if (session === null) this.initializes += 1;
    else if (!this.sessions.includes(session)) this.sessions.push(session);
    return fetch(url, init);
  };

  elicit = ({ params }) => {
    const call = this.calls.find(({ job }) => params.message.endsWith(`a number for ${job.id}`));
    return call.ask();
  };

  updated = () => {
    this.heard += 1;
    this.news.set();
  };

  // Hands over progress before the SDK has it, which drops what arrives together with the answer (typescript-sdk issue 2580).
  observe() {
    const { transport } = this.client;
    const [deliver, send] = [transport.onmessage, transport.send];
    transport.send = (message, options) => {
      const call = this.calls.find(({ job }) => job.id === message.params?.arguments?.id);
      if (call) this.tokens.set(message.params._meta.progressToken, call);
      return send.call(transport, message, options);
    };
    transport.onmessage = (message, extra) => {
      if (message.method === "notifications/progress") {
        this.tokens.get(message.params.progressToken)?.count(message.params.progress);
      }
      return deliver.call(transport, message, extra);
    };
  }

  call({ job }) {
    const params = { name: job.tool, arguments: job.arguments };
    const options = { timeout: REQUEST_MS, onprogress: () => {} };
    return this.request(params, options);
  }

  // What the lines ask for.

  works = {
    open: async ({ watch }) => {
      for (const uri of watch) await this.client.subscribeResource({ uri });
      return {};
    },
    begin: async ({ calls }) => {
      this.calls = calls.map((job) => new Call(job));
      for (const asks of [false, true]) {
        const these = this.calls.filter(({ job }) => job.asks === asks);
        for (const call of these) call.ended = call.run(this);
        await Promise.all(these.map(({ underWay }) => underWay.wait));
      }
      this.heard = 0;
      this.news = event();
      return {};
    },
    finish: async () => {
      for (const { replies } of this.calls) replies.set();
      await Promise.all(this.calls.map(({ ended }) => ended));
      return { calls: this.calls.map(({ seen }) => seen) };
    },
    read: async ({ uri }) => {
      const { contents } = await this.client.readResource({ uri });
      return { text: contents[0].text };
    },
    heard: async ({ seconds }) => {
      let timer;
      const late = new Promise((resolve) => (timer = setTimeout(resolve, seconds * 1000)));
      await Promise.race([this.news.wait, late]);
      clearTimeout(timer);
      return { heard: this.heard };
    },
  };

  async drive() {
    for await (const line of createInterface({ input: process.stdin })) {
      const job = JSON.parse(line);
      if (job.do === "close") break;
      const answer = await this.works[job.do](job);
      say({ ...answer, sessions: this.sessions, initializes: this.initializes });
    }
    await this.client.transport.terminateSession();
    await this.client.close();
  }
}

const IDENTITY = { name: "survival", version: "1.0.0" };
const CAPABILITIES = { capabilities: { elicitation: {} } };

async function version1(driver, url) {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ElicitRequestSchema, ResourceUpdatedNotificationSchema } = await import("@modelcontextprotocol/sdk/types.js");
  driver.client = new Client(IDENTITY, CAPABILITIES);
  driver.client.setRequestHandler(ElicitRequestSchema, driver.elicit);
  driver.client.setNotificationHandler(ResourceUpdatedNotificationSchema, driver.updated);
  driver.request = (params, options) => driver.client.callTool(params, undefined, options);
  await driver.client.connect(new StreamableHTTPClientTransport(url, { fetch: driver.fetch }));
}

async function version2(driver, url) {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  driver.client = new Client(IDENTITY, { ...CAPABILITIES, versionNegotiation: { mode: "legacy" } });
  driver.client.setRequestHandler("elicitation/create", driver.elicit);
  driver.client.setNotificationHandler("notifications/resources/updated", driver.updated);
  driver.request = (params, options) => driver.client.callTool(params, options);
  await driver.client.connect(new StreamableHTTPClientTransport(url, { fetch: driver.fetch }));
}

try {
  const driver = new Driver();
  const connect = { v1: version1, v2: version2 }[process.argv[2]];
  await connect(driver, new URL(process.argv[3]));
  driver.observe();
  await driver.drive();
  process.exit(0);
} catch (error) {
  say({ ended: `${error.name}: ${error.message}` });
  process.exit(1);
}
