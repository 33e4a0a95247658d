// Drives a client of Node through plans: one process per client, one job after the other.
//
// Usage: node driver.mjs CLIENT   (CLIENT: v1, v2 or inspector)
//
// A line of standard input is a job: `{"plan": …, "target": URL, "mode": "legacy|modern|sse", "features": […]}`. Each
// feature is answered with a line `{"feature": …, "ok": …, "detail": …}` and the job with `{"end": REASON}`, the reason
// being null when every feature was tried. What the features are is in features.mjs, what differs between the clients in
// the modules named `client-…`.

import { createInterface } from "node:readline";

import { Features } from "./features.mjs";

const FEATURE_MS = 25_000;

// The Inspector's command line prints its results; what this driver says goes past what catches them.
const write = process.stdout.write.bind(process.stdout);

const { connect } = await import(`./client-${process.argv[2]}.mjs`);

function say(line) {
  write(`${JSON.stringify(line)}\n`);
}

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end in ${FEATURE_MS} ms`)), FEATURE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function attempt(features, feature) {
  try {
    await within(features.show(feature));
    say({ feature, ok: true, detail: "" });
  } catch (error) {
    say({ feature, ok: false, detail: `${error.name}: ${error.message}` });
  }
}

async function work({ plan, target, mode, features: asked }) {
  const features = new Features(plan, mode);
  features.client = await within(connect(target, mode, features.host));
  for (const feature of asked) await attempt(features, feature);
  await within(features.client.close());
}

// A notification stream that breaks while a client closes is no failure of a feature.
process.on("unhandledRejection", (reason) => console.error("unhandled:", reason));

for await (const line of createInterface({ input: process.stdin })) {
  try {
    await work(JSON.parse(line));
    say({ end: null });
  } catch (error) {
    say({ end: `${error.name}: ${error.message}` });
  }
}
process.exit(0);
