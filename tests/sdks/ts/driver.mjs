// Drives an SDK of models through features: ../python/driver.py says how.

import { createInterface } from "node:readline";

import { Messages } from "./client-anthropic.mjs";
import { Gemini } from "./client-gemini.mjs";
import { Chat, Responses } from "./client-openai.mjs";
import { Features } from "./features.mjs";

const CLIENTS = {
  "typescript-chat": Chat,
  "typescript-responses": Responses,
  "typescript-messages": Messages,
  "typescript-gemini": Gemini,
};
const DETAIL_MAX = 600;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const Client = CLIENTS[process.argv[2]];
for await (const line of createInterface({ input: process.stdin })) {
  const { url, behind, mock, features } = JSON.parse(line);
  const shown = new Features(new Client(url), behind, mock);
  for (const feature of features) {
    try {
      say({ feature, ok: true, detail: (await shown[feature]()) ?? "" });
    } catch (error) {
      say({ feature, ok: false, detail: `${error.name}: ${error.message}`.slice(0, DETAIL_MAX) });
    }
  }
  say({ end: null });
}
