// Anthropic's SDK: messages, counts of tokens, models.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";

import { City, MEDIA, TOOLS } from "./said.mjs";

const KINDS = [
  [Anthropic.NotFoundError, "not found"],
  [Anthropic.BadRequestError, "bad request"],
  [Anthropic.RateLimitError, "rate limit"],
  [Anthropic.InternalServerError, "server"],
  [Anthropic.APIConnectionTimeoutError, "timeout"],
  [Anthropic.APIError, "broken"],
  [Anthropic.AnthropicError, "broken"],
];
const TOKENS_MAX = 1000;

export class Messages {
  constructor(url) {
    this.sdk = new Anthropic({ apiKey: "key", baseURL: url, maxRetries: 0, timeout: 20_000 });
  }

  impatient(seconds) {
    this.sdk = this.sdk.withOptions({ timeout: seconds * 1000 });
  }

  kind(error) {
    const kind = KINDS.find(([kind]) => error instanceof kind)?.[1];
    return kind ?? (error.message === "terminated" ? "broken" : undefined);
  }

  async models() {
    const names = [];
    for await (const model of this.sdk.models.list()) names.push(model.id);
    return names;
  }

  async count(model) {
    const messages = [{ role: "user", content: "How long is this?" }];
    return (await this.sdk.messages.countTokens({ model, messages })).input_tokens;
  }

  body(ask) {
    const content = [{ type: "text", text: ask.text }];
    if (ask.media) {
      const [kind, data] = MEDIA[ask.media];
      content.push({ type: ask.media, source: { type: "base64", media_type: kind, data } });
    }
    const messages = [{ role: "user", content }];
    if (ask.after) {
      const results = ask.results.map(([id, text]) => ({ type: "tool_result", tool_use_id: id, content: text }));
      messages.push({ role: "assistant", content: ask.after.message }, { role: "user", content: results });
    }
    const tools = TOOLS.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
    const system = ask.system && { system: ask.system };
    return { model: ask.model, messages, max_tokens: TOKENS_MAX, ...system, ...(ask.tools && { tools }) };
  }

  async ask(ask) {
    return said(await this.sdk.messages.create(this.body(ask)), 1);
  }

  async stream(ask) {
    const stream = this.sdk.messages.stream(this.body(ask));
    let pieces = 0;
    for await (const event of stream) if (event.type === "content_block_delta") pieces += 1;
    return said(await stream.finalMessage(), pieces);
  }

  async firstPieces(ask, count) {
    for await (const _ of await this.sdk.messages.create({ ...this.body(ask), stream: true })) {
      count -= 1;
      if (count === 0) break;
    }
  }

  async parse(model) {
    const messages = [{ role: "user", content: "Where?" }];
    const output_config = { format: zodOutputFormat(City) };
    return (await this.sdk.messages.parse({ model, messages, max_tokens: TOKENS_MAX, output_config })).parsed_output;
  }

  malformed(model) {
    return this.sdk.messages.create({ model, messages: [{ role: "user", content: 17 }], max_tokens: TOKENS_MAX });
  }
}

function said(answer, pieces) {
  const called = answer.content.filter((block) => block.type === "tool_use");
  const calls = called.map(({ id, name, input }) => ({ id, name, arguments: input }));
  const text = answer.content.filter((block) => block.type === "text").map((block) => block.text);
  const usage = [answer.usage.input_tokens, answer.usage.output_tokens];
  return { text: text.join(""), calls, usage, pieces, message: answer.content };
}
