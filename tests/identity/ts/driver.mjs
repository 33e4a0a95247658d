// Drives the OAuth client of a version of the TypeScript SDK, step by step.
//
// Usage: node driver.mjs v1|v2
//
// A line of standard input is a step, and is answered with one line, `{"ok": true, "value": …}` or `{"ok": false,
// "detail": …}`, both with `visits` (how often the person was asked) and `grants` (how often tokens came):
//
//   {"do": "connect", "target": URL, "mode": "legacy|modern", "person": …, "client": {…}}   see holder.mjs
//   {"do": "connect", "target": URL, "mode": …, "client": {"id": …, "secret": …, "issuer": …}, "scope": …}  its own
//   {"do": "tools"}                       the names of the tools
//   {"do": "call", "name": …, "arguments": {…}}   the text of the result
//   {"do": "forge"}                       the access token becomes worthless
//   {"do": "unrefresh"}                   the refresh token is lost
//   {"do": "tokens"}                      what is held
//   {"do": "close"}

import { createInterface } from "node:readline";

import { Holder } from "./holder.mjs";

const STEP_MS = 25_000;

// A step may need a person more than once: at the start, and for more scopes.
const VISITS_MAX = 3;

const sdk = await import(`./sdk-${process.argv[2]}.mjs`);

let holder;
let client;
let transport;

function hold({ client: known = {}, scope, ...rest }) {
  if (!known.secret) return new Holder({ client: known, ...rest });
  const { id: clientId, secret: clientSecret, issuer: expectedIssuer } = known;
  return new sdk.ClientCredentialsProvider({ clientId, clientSecret, expectedIssuer, scope });
}

// Does `work`, with the person's help where the SDK says that it needs it.
async function withPerson(work) {
  for (let visits = 0; ; visits++) {
    try {
      return await work();
    } catch (error) {
      if (!sdk.wantsPerson(error) || !holder.returned || visits === VISITS_MAX) throw error;
      const { returned } = holder;
      holder.returned = undefined;
      if (returned.has("error")) throw new Error(`the provider refused: ${returned.get("error")}`);
      await sdk.finish(transport, returned);
    }
  }
}

async function connect({ target, mode, ...known }) {
  holder = hold(known);
  await withPerson(async () => {
    client = sdk.newClient(mode);
    // What finishes an authorization is the transport that began it.
    const next = sdk.newTransport(new URL(target), holder);
    transport = next;
    await client.connect(next);
  });
  return client.getNegotiatedProtocolVersion?.() ?? "legacy";
}

async function call({ name, arguments: given = {} }) {
  const result = await withPerson(() => client.callTool({ name, arguments: given }));
  if (result.isError) throw new Error(`the tool says: ${JSON.stringify(result.content)}`);
  return result.content.map(({ text }) => text).join("\n");
}

const steps = {
  connect,
  call,
  tools: async () => (await withPerson(() => client.listTools({}, { cacheMode: "refresh" }))).tools.map(({ name }) => name),
  forge: () => holder.forge(),
  unrefresh: () => holder.unrefresh(),
  tokens: async () => (await holder.tokens()) ?? null,
  close: () => client.close(),
};

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end in ${STEP_MS} ms`)), STEP_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function answer(step) {
  try {
    return { ok: true, value: (await within(steps[step.do](step))) ?? null };
  } catch (error) {
    return { ok: false, detail: `${error.name}: ${error.message}` };
  }
}

// A notification stream that breaks while a client closes is no failure of a step.
process.on("unhandledRejection", (reason) => console.error("unhandled:", reason));

for await (const line of createInterface({ input: process.stdin })) {
  const answered = await answer(JSON.parse(line));
  console.log(JSON.stringify({ ...answered, visits: holder?.visits ?? 0, grants: holder?.grants ?? 0 }));
}
process.exit(0);
