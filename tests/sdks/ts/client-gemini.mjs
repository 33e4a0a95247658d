// Google's SDK: `generateContent`, models.

import { ApiError, GoogleGenAI } from "@google/genai";
import { z } from "zod";

import { City, MEDIA, TOOLS } from "./said.mjs";

const KINDS = { 404: "not found", 400: "bad request", 429: "rate limit" };

export class Gemini {
  constructor(url) {
    this.url = url;
    this.impatient(20);
  }

  impatient(seconds) {
    const httpOptions = { baseUrl: this.url, timeout: seconds * 1000, retryOptions: { attempts: 1 } };
    this.sdk = new GoogleGenAI({ apiKey: "key", httpOptions });
  }

  // The SDK has one class for what a server answers, and leaves the rest to fetch.
  kind(error) {
    if (error instanceof ApiError) return KINDS[error.status] ?? (error.status >= 500 ? "server" : "status");
    if (error.name === "AbortError" || /abort|timed? ?out/i.test(error.message)) return "timeout";
    return /terminated|fetch failed|JSON|error/i.test(`${error.message} ${error.cause ?? ""}`) ? "broken" : undefined;
  }

  async models() {
    const names = [];
    for await (const model of await this.sdk.models.list()) names.push(model.name.replace("models/", ""));
    return names;
  }

  body(ask) {
    const parts = [{ text: ask.text }];
    if (ask.media) {
      const [mimeType, data] = MEDIA[ask.media];
      parts.push({ inlineData: { mimeType, data } });
    }
    const contents = [{ role: "user", parts }];
    if (ask.after) {
      const named = new Map(ask.after.calls.map((call) => [call.id, call.name]));
      const results = ask.results.map(([id, text]) => ({
        functionResponse: { id, name: named.get(id), response: { result: text } },
      }));
      contents.push(ask.after.message, { role: "user", parts: results });
    }
    const functionDeclarations = TOOLS.map(({ name, description, schema }) => ({
      name,
      description,
      parametersJsonSchema: schema,
    }));
    const system = ask.system && { systemInstruction: ask.system };
    const config = { ...system, ...(ask.tools && { tools: [{ functionDeclarations }] }) };
    return { model: ask.model, contents, config };
  }

  async ask(ask) {
    return said([await this.sdk.models.generateContent(this.body(ask))]);
  }

  async stream(ask) {
    const chunks = [];
    for await (const chunk of await this.sdk.models.generateContentStream(this.body(ask))) chunks.push(chunk);
    return said(chunks);
  }

  async firstPieces(ask, count) {
    const body = this.body(ask);
    const left = new AbortController();
    body.config.abortSignal = left.signal;
    for await (const _ of await this.sdk.models.generateContentStream(body)) {
      count -= 1;
      if (count === 0) break;
    }
    left.abort();
  }

  async parse(model) {
    const config = { responseMimeType: "application/json", responseJsonSchema: z.toJSONSchema(City) };
    const answer = await this.sdk.models.generateContent({ model, contents: "Where?", config });
    return City.parse(JSON.parse(answer.text));
  }

  malformed(model) {
    return this.sdk.models.generateContent({ model, contents: "a", config: { httpOptions: { extraBody: { contents: 17 } } } });
  }
}

function said(chunks) {
  const parts = chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []);
  const text = parts.filter((part) => part.text && !part.thought).map((part) => part.text);
  const called = parts.filter((part) => part.functionCall).map((part) => part.functionCall);
  const calls = called.map(({ id, name, args }, at) => ({ id: id ?? `${at} ${name}`, name, arguments: args }));
  const usage = chunks.at(-1).usageMetadata;
  const tokens = usage && [usage.promptTokenCount, usage.candidatesTokenCount];
  return { text: text.join(""), calls, usage: tokens, pieces: chunks.length, message: { role: "model", parts } };
}
