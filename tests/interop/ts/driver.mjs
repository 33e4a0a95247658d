// Drives a client of the TypeScript SDK through a plan and prints one JSON object per feature.
//
// Usage: node driver.mjs VERSION PLAN URL MODE FEATURE,FEATURE…   (VERSION: v1 or v2; MODE: legacy, modern or sse)
//
// A plan says which tool, prompt or resource of the server shows which feature. Every feature is tried on its own, with
// a time limit; a failure is a line with `ok: false` and the reason, and the next feature goes on. What differs between
// the two major versions of the SDK is in v1.mjs and v2.mjs.

import { readFileSync } from "node:fs";

const FEATURE_MS = 25_000;
const REQUEST_MS = 20_000;

const [version, path, url, mode, list] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(path, "utf8"));
const sdk = await import(`./${version}.mjs`);
const modern = mode === "modern";

const logs = [];
const progress = [];
const notes = [];
let wake = () => {};

const client = sdk.create(mode, {
  sample: () => ({
    role: "assistant",
    content: { type: "text", text: plan.sampling.answer },
    model: "driver",
    stopReason: "endTurn",
  }),
  elicit: () => ({ action: "accept", content: plan.elicitation.answer }),
  log: (note) => logs.push(note.params),
  note: (note) => {
    notes.push(note);
    wake();
  },
});

function check(condition, reason) {
  if (!condition) throw new Error(reason);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function call(step, options = {}) {
  const params = { name: step.tool, arguments: step.arguments ?? {} };
  // A modern server logs only for a request that asks for it.
  if (modern) params._meta = { "io.modelcontextprotocol/logLevel": "debug" };
  return sdk.call(client, params, { timeout: REQUEST_MS, ...options });
}

function says(result, text) {
  const said = (result.content ?? []).filter((block) => block.type === "text").map((block) => block.text);
  check(!result.isError, `the tool failed: ${said}`);
  check(said.some((part) => part.includes(text)), `expected ${text} in ${said}`);
}

async function noted(method, predicate = () => true) {
  for (;;) {
    const at = notes.findIndex((note) => note.method === method && predicate(note));
    if (at >= 0) return notes.splice(at, 1)[0];
    await new Promise((resolve) => (wake = resolve));
  }
}

async function all(method, key) {
  const items = [];
  let cursor;
  for (let page = 0; page < 100; page++) {
    const result = await method(cursor === undefined ? undefined : { cursor });
    items.push(...result[key]);
    cursor = result.nextCursor;
    if (cursor === undefined) return items;
  }
  throw new Error("a hundred pages and no end");
}

async function toolNames() {
  const tools = await all((params) => client.listTools(params, { cacheMode: "refresh" }), "tools");
  return tools.map((tool) => tool.name);
}

async function read(step) {
  const result = await client.readResource({ uri: step.uri });
  const said = result.contents.filter((content) => "text" in content).map((content) => content.text);
  check(said.some((part) => part.includes(step.says)), `the resource says ${said}`);
}

async function cancelled(step) {
  if (!step.counter) return 0;
  const result = await call({ tool: step.counter });
  const text = result.content[0].text;
  return /^\d+$/.test(text) ? Number(text) : JSON.parse(text).count;
}

const features = {
  async connect() {
    const negotiated = sdk.negotiated(client);
    check((negotiated === "2026-07-28") === modern, `negotiated ${negotiated} in mode ${mode}`);
  },

  async tools(step) {
    const names = await toolNames();
    const missing = step.filter((name) => !names.includes(name));
    check(missing.length === 0, `not listed: ${missing}`);
  },

  async call(step) {
    says(await call(step), step.says);
  },

  async headers(step) {
    await toolNames();
    says(await call(step), step.says);
  },

  async error(step) {
    const result = await call(step);
    check(result.isError === true, "the tool did not fail");
  },

  async unknown(step) {
    let result;
    try {
      result = await call(step);
    } catch (error) {
      return check(error.code === -32602, `code ${error.code}: ${error.message}`);
    }
    check(result.isError === true, "an unknown tool answered");
  },

  async structured(step) {
    const { structuredContent } = await call(step);
    for (const [key, value] of Object.entries(step.content)) {
      check(structuredContent?.[key] === value, `${key} is ${structuredContent?.[key]}`);
    }
  },

  async progress(step) {
    // The SDK drops progress that arrives together with the answer (typescript-sdk issue 2580), so what reached the
    // client is counted before the SDK, and its own callback must have been called at all.
    let called = 0;
    progress.length = 0;
    await call(step, { onprogress: () => called++ });
    const sorted = [...progress].sort((a, b) => a - b);
    check(progress.length === step.count && String(progress) === String(sorted), `progress was ${progress}`);
    check(called > 0, "the callback was not called");
  },

  async logging(step) {
    logs.length = 0;
    if (!modern && client.getServerCapabilities()?.logging) await client.setLoggingLevel("debug");
    await call(step);
    for (let look = 0; look < 100; look++) {
      if (logs.length >= step.count) return;
      await sleep(50);
    }
    throw new Error(`${logs.length} log messages`);
  },

  async prompts(step) {
    const prompts = await all((params) => client.listPrompts(params), "prompts");
    check(prompts.some((prompt) => prompt.name === step.prompt), "the prompt is not listed");
    const result = await client.getPrompt({ name: step.prompt, arguments: step.arguments });
    const said = result.messages.map((message) => message.content.text ?? "");
    check(said.some((part) => part.includes(step.says)), `the prompt says ${said}`);
  },

  async resources(step) {
    const resources = await all((params) => client.listResources(params), "resources");
    check(resources.some((resource) => resource.uri === step.uri), "the resource is not listed");
    await read(step);
  },

  async templates(step) {
    const templates = await all((params) => client.listResourceTemplates(params), "resourceTemplates");
    check(templates.some((template) => template.uriTemplate === step.template), "the template is not listed");
    await read(step);
  },

  async completion(step) {
    const ref = { type: "ref/prompt", name: step.prompt };
    const result = await client.complete({ ref, argument: { name: step.argument, value: step.value } });
    const { values } = result.completion;
    check(String(values) === String(step.values), `values are ${values}`);
  },

  async elicitation(step) {
    says(await call(step), step.says);
  },

  async sampling(step) {
    says(await call(step), step.says);
  },

  async tasks(step) {
    says(await sdk.task(client, { name: step.tool, arguments: step.arguments }), step.says);
  },

  async updates(step) {
    const close = await sdk.watch(client, mode, { resourceSubscriptions: [step.uri] });
    await call({ tool: step.trigger });
    await noted("notifications/resources/updated", (note) => note.params.uri === step.uri);
    await close();
  },

  async changes(step) {
    const before = (await toolNames()).includes(step.tool);
    const close = await sdk.watch(client, mode, { toolsListChanged: true });
    await call({ tool: step.trigger });
    await noted("notifications/tools/list_changed");
    const after = (await toolNames()).includes(step.tool);
    check(before !== after, "the list is the old one");
    await close();
  },

  async cancellation(step) {
    const before = await cancelled(step);
    const abort = new AbortController();
    const running = new Promise((resolve) => {
      const options = { signal: abort.signal, onprogress: () => resolve(undefined) };
      call(step, options).then(resolve, resolve);
    });
    const early = await running;
    check(early === undefined, `the call ended before its cancellation: ${early}`);
    abort.abort();
    for (let look = 0; look < 100; look++) {
      if (!step.counter || (await cancelled(step)) > before) return features.call(plan.call);
      await sleep(50);
    }
    throw new Error("the server was not told");
  },

  async reconnection(step) {
    says(await call(step), step.says);
  },
};

function report(feature, ok, detail) {
  console.log(JSON.stringify({ feature, ok, detail }));
}

function observe(transport) {
  const deliver = transport.onmessage;
  transport.onmessage = (message, extra) => {
    if (message.method === "notifications/progress") progress.push(message.params.progress);
    return deliver?.call(transport, message, extra);
  };
}

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end in ${FEATURE_MS} ms`)), FEATURE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A notification stream that breaks while the process ends is no failure of a feature.
process.on("unhandledRejection", (reason) => console.error("unhandled:", reason));

await within(sdk.connect(client, mode, new URL(url)));
observe(client.transport);
for (const feature of list.split(",")) {
  try {
    await within(features[feature](plan[feature]));
    report(feature, true, "");
  } catch (error) {
    report(feature, false, `${error.name}: ${error.message}`);
  }
}
await sdk.end(client);
process.exit(0);
