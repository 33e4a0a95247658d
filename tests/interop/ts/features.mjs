// What it means that a feature works: the checks of a plan, the same for every client of Node.
//
// A client is what `connect(target, mode, host)` of a module `client-…` gives, with these members; one that the client
// has no way to is left out, and the test does not ask for the features that need it:
//
//   version                          the negotiated revision
//   tools()                          names of all tools
//   call(name, args, options)        an answer `{ said, failed, structured }`; `options.progress` is called with each
//                                    progress, `options.signal` cancels; a refusal is an error with a numeric `code`
//   prompts()                        names of all prompts
//   prompt(name, args)               the texts of its messages
//   resources(), templates()         URIs of all resources, URI templates of all templates
//   read(uri)                        the texts of a resource
//   complete(prompt, argument, value)  the proposed values
//   logEverything()                  asks for log messages of every level
//   task(name, args)                 the answer of a call that runs as a task
//   updates(uri), changes()          watch a resource or the list of tools: `{ next, close }`
//   close()                          ends the session
//
// The client asks a host what to answer the server, and gives it the log messages.

import { isDeepStrictEqual } from "node:util";

const INVALID_PARAMS = -32602;
const LOOKS_MAX = 100;
const PAUSE_MS = 50;

export class Features {
  constructor(plan, mode) {
    this.plan = plan;
    this.mode = mode;
    this.modern = mode === "modern";
    this.host = { logs: [], sample: () => plan.sampling.answer, elicit: () => plan.elicitation.answer };
    this.client = undefined;
  }

  show(feature) {
    return shown[feature].call(this, this.plan[feature]);
  }

  call(step, options) {
    return this.client.call(step.tool, step.arguments ?? {}, options);
  }

  async trigger(step) {
    const answer = await this.client.call(step.trigger, step.arguments ?? {});
    check(!answer.failed, `the trigger failed: ${answer.said}`);
  }

  async says(step) {
    says(await this.call(step), step.says);
  }

  async cancelled(step) {
    if (!step.counter) return 0;
    const [text] = (await this.client.call(step.counter, {})).said;
    return /^\d+$/.test(text) ? Number(text) : JSON.parse(text).count;
  }
}

const shown = {
  async connect() {
    const { version } = this.client;
    check((version === "2026-07-28") === this.modern, `negotiated ${version} in mode ${this.mode}`);
  },

  async tools(step) {
    const names = await this.client.tools();
    const missing = step.filter((name) => !names.includes(name));
    check(missing.length === 0, `not listed: ${missing}`);
  },

  call(step) {
    return this.says(step);
  },

  async headers(step) {
    await this.client.tools();
    await this.says(step);
  },

  async error(step) {
    check((await this.call(step)).failed, "the tool did not fail");
  },

  async unknown(step) {
    let answer;
    try {
      answer = await this.call(step);
    } catch (error) {
      return check(error.code === INVALID_PARAMS, `refused with ${error.code}: ${error.message}`);
    }
    check(answer.failed, "an unknown tool answered");
  },

  async structured(step) {
    const { structured } = await this.call(step);
    for (const [key, value] of Object.entries(step.content)) {
      check(isDeepStrictEqual(structured?.[key], value), `${key} is ${JSON.stringify(structured?.[key])}`);
    }
  },

  async progress(step) {
    const seen = [];
    await this.call(step, { progress: (value) => seen.push(value) });
    const sorted = [...seen].sort((a, b) => a - b);
    check(seen.length === step.count && String(seen) === String(sorted), `progress was ${seen}`);
  },

  async logging(step) {
    const { logs } = this.host;
    logs.length = 0;
    await this.client.logEverything();
    await this.call(step);
    await soon(() => logs.length >= step.count, () => `${logs.length} log messages`);
  },

  async prompts(step) {
    const names = await this.client.prompts();
    check(names.includes(step.prompt), `not among ${names}`);
    contains(await this.client.prompt(step.prompt, step.arguments), step.says);
  },

  async resources(step) {
    const uris = await this.client.resources();
    check(uris.includes(step.uri), `not among ${uris}`);
    contains(await this.client.read(step.uri), step.says);
  },

  async templates(step) {
    const templates = await this.client.templates();
    check(templates.includes(step.template), `not among ${templates}`);
    contains(await this.client.read(step.uri), step.says);
  },

  async completion(step) {
    const values = await this.client.complete(step.prompt, step.argument, step.value);
    check(String(values) === String(step.values), `values are ${values}`);
  },

  elicitation(step) {
    return this.says(step);
  },

  sampling(step) {
    return this.says(step);
  },

  async tasks(step) {
    says(await this.client.task(step.tool, step.arguments), step.says);
  },

  async updates(step) {
    const watch = await this.client.updates(step.uri);
    await this.trigger(step);
    await watch.next();
    await watch.close();
  },

  async changes(step) {
    const before = (await this.client.tools()).includes(step.tool);
    const watch = await this.client.changes();
    await this.trigger(step);
    await watch.next();
    const after = (await this.client.tools()).includes(step.tool);
    check(before !== after, "the list is the old one");
    await watch.close();
  },

  async cancellation(step) {
    const before = await this.cancelled(step);
    const abort = new AbortController();
    const running = new Promise((resolve) => {
      const options = { signal: abort.signal, progress: () => resolve(undefined) };
      this.call(step, options).then((answer) => resolve(answer.said), resolve);
    });
    const early = await running;
    check(early === undefined, `the call ended before its cancellation: ${early}`);
    abort.abort();
    for (let look = 0; look < LOOKS_MAX; look++) {
      if (!step.counter || (await this.cancelled(step)) > before) return this.says(this.plan.call);
      await sleep();
    }
    throw new Error("the server was not told");
  },

  reconnection(step) {
    return this.says(step);
  },
};

export function check(condition, reason) {
  if (!condition) throw new Error(reason);
}

// Every item of a list; `method` takes the cursor's parameters.
export async function pages(method, key) {
  const items = [];
  let cursor;
  for (let page = 0; page < LOOKS_MAX; page++) {
    const result = await method(cursor === undefined ? undefined : { cursor });
    items.push(...result[key]);
    cursor = result.nextCursor;
    if (cursor === undefined) return items;
  }
  throw new Error(`${LOOKS_MAX} pages and no end`);
}

// The texts among content blocks or resource contents.
export function texts(items) {
  return (items ?? []).filter((item) => typeof item.text === "string").map((item) => item.text);
}

export function answer(result) {
  return { said: texts(result.content), failed: result.isError === true, structured: result.structuredContent };
}

function contains(said, text) {
  check(said.some((part) => part.includes(text)), `expected ${text} in ${said}`);
}

function says({ said, failed }, text) {
  check(!failed, `the tool failed: ${said}`);
  contains(said, text);
}

async function soon(condition, reason) {
  for (let look = 0; look < LOOKS_MAX; look++) {
    if (condition()) return;
    await sleep();
  }
  throw new Error(reason());
}

function sleep() {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
