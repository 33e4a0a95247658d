// The MCP Inspector in its mode for the command line: npm `@modelcontextprotocol/inspector`, `mcp-inspector --cli`.
//
// Each request is a run of that command line, with a connection of its own: what the package's launcher does for `--cli`
// is to import this module and call `runCli`, and so does this file, without a process for each. The result is what the
// command prints. It answers no questions of servers and shows no notifications.

import { answer, texts } from "./features.mjs";

const CLI = "./node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js";

const { runCli } = await import(CLI);

class Inspector {
  constructor(target, mode) {
    const era = mode === "modern" ? "modern" : "legacy";
    const transport = mode === "sse" ? "sse" : "http";
    this.options = ["--server-url", target, "--transport", transport, "--protocol-era", era, "--format", "json"];
  }

  async run(method, ...options) {
    const printed = [];
    const { write } = process.stdout;
    process.stdout.write = (chunk, encoding, done = encoding) => {
      printed.push(String(chunk));
      if (typeof done === "function") done();
      return true;
    };
    let failure;
    try {
      await runCli(["node", "mcp-inspector", ...this.options, "--method", method, ...options]);
    } catch (error) {
      failure = error;
    } finally {
      process.stdout.write = write;
    }
    // A tool's own error is printed as a result, and then is a failure of the command as well.
    if (printed.length > 0) return JSON.parse(printed.join("")).result;
    throw failure ?? new Error(`${method} printed nothing`);
  }

  async tools() {
    return (await this.run("tools/list")).tools.map((tool) => tool.name);
  }

  async call(name, args) {
    return answer(await this.run("tools/call", "--tool-name", name, "--tool-args-json", JSON.stringify(args)));
  }

  async prompts() {
    return (await this.run("prompts/list")).prompts.map((prompt) => prompt.name);
  }

  async prompt(name, args) {
    const pairs = Object.entries(args).map(([key, value]) => `${key}=${value}`);
    const { messages } = await this.run("prompts/get", "--prompt-name", name, "--prompt-args", ...pairs);
    return texts(messages.map((message) => message.content));
  }

  async resources() {
    return (await this.run("resources/list")).resources.map((resource) => resource.uri);
  }

  async templates() {
    const { resourceTemplates } = await this.run("resources/templates/list");
    return resourceTemplates.map((template) => template.uriTemplate);
  }

  async read(uri) {
    return texts((await this.run("resources/read", "--uri", uri)).contents);
  }

  // A task is waited for by the command itself.
  task(name, args) {
    return this.call(name, args);
  }

  async close() {}
}

export async function connect(target, mode) {
  const inspector = new Inspector(target, mode);
  inspector.version = (await inspector.run("initialize")).protocolVersion;
  return inspector;
}
