// OpenAI's SDK: chat completions, responses, embeddings, models.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";

import { City, MEDIA, TOOLS } from "./said.mjs";

const KINDS = [
  [OpenAI.NotFoundError, "not found"],
  [OpenAI.BadRequestError, "bad request"],
  [OpenAI.RateLimitError, "rate limit"],
  [OpenAI.InternalServerError, "server"],
  [OpenAI.APIConnectionTimeoutError, "timeout"],
  [OpenAI.APIError, "broken"],
];

// The failure of a stream, which the SDK hands over as an event.
class Told extends Error {}

class Openai {
  constructor(url) {
    this.sdk = new OpenAI({ apiKey: "key", baseURL: `${url}/v1`, maxRetries: 0, timeout: 20_000 });
  }

  impatient(seconds) {
    this.sdk = this.sdk.withOptions({ timeout: seconds * 1000 });
  }

  kind(error) {
    if (error instanceof Told) return "broken";
    // A body that ends too early is undici's to report, and one that is no JSON the parser's.
    const kind = KINDS.find(([kind]) => error instanceof kind)?.[1];
    return kind ?? (error.message === "terminated" ? "broken" : undefined);
  }

  async models() {
    const names = [];
    for await (const model of this.sdk.models.list()) names.push(model.id);
    return names;
  }

  async embed(model, texts) {
    const answer = await this.sdk.embeddings.create({ model, input: texts });
    return answer.data.map((item) => item.embedding);
  }
}

async function leave(stream, count) {
  for await (const _ of stream) {
    count -= 1;
    if (count === 0) break;
  }
}

export class Chat extends Openai {
  body(ask) {
    let content = ask.text;
    if (ask.media) {
      const [kind, data] = MEDIA[ask.media];
      const url = `data:${kind};base64,${data}`;
      const image = { type: "image_url", image_url: { url } };
      const file = { type: "file", file: { filename: "a.pdf", file_data: url } };
      content = [{ type: "text", text: ask.text }, ask.media === "image" ? image : file];
    }
    const messages = ask.system ? [{ role: "system", content: ask.system }] : [];
    messages.push({ role: "user", content });
    if (ask.after) {
      messages.push(ask.after.message);
      for (const [id, text] of ask.results) messages.push({ role: "tool", tool_call_id: id, content: text });
    }
    const functions = TOOLS.map(({ name, description, schema }) => ({ name, description, parameters: schema }));
    const tools = functions.map((described) => ({ type: "function", function: described }));
    return { model: ask.model, messages, ...(ask.tools && { tools }) };
  }

  async ask(ask) {
    const answer = await this.sdk.chat.completions.create(this.body(ask));
    return said(answer, 1);
  }

  async stream(ask) {
    const stream = this.sdk.chat.completions.stream({ ...this.body(ask), stream_options: { include_usage: true } });
    let pieces = 0;
    for await (const _ of stream) pieces += 1;
    return said(await stream.finalChatCompletion(), pieces);
  }

  async firstPieces(ask, count) {
    await leave(await this.sdk.chat.completions.create({ ...this.body(ask), stream: true }), count);
  }

  async parse(model) {
    const messages = [{ role: "user", content: "Where?" }];
    const format = zodResponseFormat(City, "city");
    const answer = await this.sdk.chat.completions.parse({ model, messages, response_format: format });
    return answer.choices[0].message.parsed;
  }

  malformed(model) {
    return this.sdk.chat.completions.create({ model, messages: 17 });
  }
}

function said(answer, pieces) {
  const { content, tool_calls } = answer.choices[0].message;
  const called = (tool_calls ?? []).map(({ id, type, function: { name, arguments: text } }) => ({
    id,
    type: type ?? "function",
    function: { name, arguments: text },
  }));
  const calls = called.map((call) => ({
    id: call.id,
    name: call.function.name,
    arguments: JSON.parse(call.function.arguments),
  }));
  const usage = answer.usage && [answer.usage.prompt_tokens, answer.usage.completion_tokens];
  return { text: content ?? "", calls, usage, pieces, message: { role: "assistant", content, tool_calls: called } };
}

export class Responses extends Openai {
  body(ask) {
    let content = ask.text;
    if (ask.media) {
      const [kind, data] = MEDIA[ask.media];
      const url = `data:${kind};base64,${data}`;
      const image = { type: "input_image", image_url: url, detail: "auto" };
      const file = { type: "input_file", filename: "a.pdf", file_data: url };
      content = [{ type: "input_text", text: ask.text }, ask.media === "image" ? image : file];
    }
    const input = [{ role: "user", content }];
    if (ask.after) {
      input.push(...ask.after.message);
      for (const [id, text] of ask.results) input.push({ type: "function_call_output", call_id: id, output: text });
    }
    const tools = TOOLS.map(({ name, description, schema }) => ({
      type: "function",
      strict: false,
      name,
      description,
      parameters: schema,
    }));
    const system = ask.system && { instructions: ask.system };
    return { model: ask.model, input, store: false, ...system, ...(ask.tools && { tools }) };
  }

  async ask(ask) {
    return this.said(await this.sdk.responses.create(this.body(ask)), 1);
  }

  async stream(ask) {
    const stream = this.sdk.responses.stream(this.body(ask));
    let pieces = 0;
    for await (const event of stream) {
      if (event.type === "error" || event.type === "response.failed") throw new Told(JSON.stringify(event));
      if (event.type.endsWith(".delta")) pieces += 1;
    }
    return this.said(await stream.finalResponse(), pieces);
  }

  async firstPieces(ask, count) {
    await leave(await this.sdk.responses.create({ ...this.body(ask), stream: true }), count);
  }

  async parse(model) {
    const format = zodTextFormat(City, "city");
    return (await this.sdk.responses.parse({ model, input: "Where?", text: { format } })).output_parsed;
  }

  malformed(model) {
    return this.sdk.responses.create({ model, input: 17 });
  }

  said(answer, pieces) {
    const called = answer.output.filter((item) => item.type === "function_call");
    const calls = called.map((call) => ({ id: call.call_id, name: call.name, arguments: JSON.parse(call.arguments) }));
    const usage = answer.usage && [answer.usage.input_tokens, answer.usage.output_tokens];
    const message = answer.output.map(({ parsed_arguments: _, ...item }) => item);
    const text = answer.output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "");
    return { text: text.join(""), calls, usage, pieces, message };
  }
}
