// The features: the same as ../python/features.py, which says what they are.

import { City, MEDIA, WORDS } from "./said.mjs";

const NOTICE_MS = 10_000;
const POLL_MS = 20;
const FAILING = "failing-";
const LIMITED = "limited-";

function check(holds, seen) {
  if (!holds) throw new Error(JSON.stringify(seen) ?? "undefined");
}

export class Features {
  constructor(client, behind, mock) {
    Object.assign(this, { client, behind, mock });
  }

  model(options = "", kind = "") {
    return `${kind}${this.behind}-mock${options}`;
  }

  ask(model, more = {}) {
    return { model, text: WORDS, ...more };
  }

  async ledger() {
    return (await fetch(`${this.mock}/ledger`)).json();
  }

  async heard(name) {
    return (await this.ledger()).models[name].last.body;
  }

  async raises(kinds, work) {
    let seen;
    try {
      seen = await work();
    } catch (error) {
      const kind = this.client.kind(error);
      if (kinds.includes(kind)) return;
      throw new Error(`${kind} (${error.name}: ${error.message}), not ${kinds}`);
    }
    throw new Error(`it ends well, with ${JSON.stringify(seen)}`);
  }

  // === Answers ===

  async chat() {
    const said = await this.client.ask(this.ask(this.model()));
    check(said.text === `echo: ${WORDS}`, said);
    check(said.usage && Math.min(...said.usage) > 0, said.usage);
  }

  async system() {
    const said = await this.client.ask(this.ask(`${this.behind}-hears-the-system`, { system: "Answer as a pirate." }));
    check(said.text === `echo: ${WORDS}`, said);
    check((await this.heard("hears-the-system")).includes("Answer as a pirate."), "not heard");
  }

  async stream() {
    const said = await this.client.stream(this.ask(this.model(",chunks=16,gap=2ms")));
    check(said.text === `echo: ${WORDS}`, said);
    check(said.pieces >= 16, said.pieces);
  }

  async usage() {
    const said = await this.client.stream(this.ask(this.model(",usage=123/45")));
    check(said.usage?.[0] === 123 && said.usage[1] === 45, said.usage);
  }

  async tools() {
    this.called(await this.client.ask(this.ask(this.model(",tools=2"), { tools: true })));
  }

  async tool_stream() {
    this.called(await this.client.stream(this.ask(this.model(",tools=2,chunks=3"), { tools: true })));
  }

  async results() {
    const ask = this.ask(`${this.behind}-mock,tools=2,first=1ms`, { tools: true });
    ask.after = await this.client.ask(ask);
    this.called(ask.after);
    ask.results = ask.after.calls.map((call) => [call.id, `${call.name} says fine`]);
    const said = await this.client.ask(ask);
    check(said.text && said.calls.length === 0, said);
    const heard = await this.heard("mock,tools=2,first=1ms");
    check(heard.includes("weather says fine") && heard.includes("clock says fine"), heard);
  }

  called(said) {
    check(said.calls.map((call) => call.name).join() === "weather,clock", said);
    check(new Set(said.calls.map((call) => call.id)).size === 2, said);
    const [weather, clock] = said.calls.map((call) => call.arguments);
    check(Object.keys(weather).join() === "city" && typeof weather.city === "string", said);
    check(Object.keys(clock).join() === "zone" && typeof clock.zone === "string", said);
  }

  async structured() {
    const parsed = await this.client.parse(this.model());
    check(City.safeParse(parsed).success, parsed);
  }

  image() {
    return this.media("image");
  }

  document() {
    return this.media("document");
  }

  async media(media) {
    let said;
    try {
      said = await this.client.ask(this.ask(`${this.behind}-sees-an-${media}`, { media }));
    } catch (error) {
      if (this.client.kind(error) === "bad request") return "400";
      throw error;
    }
    check(said.text === `echo: ${WORDS}`, said);
    check((await this.heard(`sees-an-${media}`)).includes(MEDIA[media][1]), "not seen");
  }

  async embeddings() {
    let vectors;
    try {
      vectors = await this.client.embed(this.model(), ["one", "two"]);
    } catch (error) {
      if (this.behind === "messages" && this.client.kind(error) === "not found") return "404";
      throw error;
    }
    check(vectors.length === 2 && vectors[0].length > 1, vectors);
    check(JSON.stringify(vectors[0]) !== JSON.stringify(vectors[1]), vectors);
  }

  async models() {
    const names = await this.client.models();
    check(names.includes("listed"), names);
  }

  async count() {
    const tokens = await this.client.count(this.model());
    check(tokens > 0, tokens);
  }

  // === Failures ===

  unknown() {
    return this.raises(["not found"], () => this.client.ask(this.ask("nobody")));
  }

  async malformed() {
    await this.raises(["bad request"], () => this.client.ask(this.ask(this.model(",status=400", FAILING))));
    const own = this.client.constructor.name.toLowerCase();
    if (own !== this.behind) await this.raises(["bad request"], () => this.client.malformed(this.model()));
  }

  // First by the provider, then by the gateway, which knows until when.
  async limited() {
    const ask = this.ask(this.model(",status=429,retry-after=1", LIMITED));
    await this.raises(["rate limit"], () => this.client.ask(ask));
    await this.raises(["rate limit"], () => this.client.stream(ask));
  }

  async failed() {
    for (const fault of ["status=500", "html", "error-html", "cut-head", "wrong-json"]) {
      try {
        await this.raises(["server"], () => this.client.ask(this.ask(this.model(`,${fault}`, FAILING))));
      } catch (error) {
        throw new Error(`${fault}: ${error.message}`);
      }
    }
  }

  async cut() {
    for (const fault of ["cut=3", "half-close=3", "error-event=3"]) {
      const ask = this.ask(this.model(`,chunks=16,gap=2ms,${fault}`, FAILING));
      try {
        await this.raises(["server", "status", "broken"], () => this.client.stream(ask));
      } catch (error) {
        throw new Error(`${fault}: ${error.message}`);
      }
    }
  }

  async timeout() {
    this.client.impatient(1);
    try {
      await this.raises(["timeout"], () => this.client.ask(this.ask(this.model(",head=5s", FAILING))));
    } finally {
      this.client.impatient(20);
    }
  }

  async close() {
    const before = (await this.ledger()).streams.abandoned;
    await this.client.firstPieces(this.ask(this.model(",endless,gap=10ms", FAILING)), 3);
    const end = Date.now() + NOTICE_MS;
    while ((await this.ledger()).streams.abandoned === before) {
      if (Date.now() > end) throw new Error("the provider goes on");
      await new Promise((done) => setTimeout(done, POLL_MS));
    }
  }
}
