// Runs the identity provider, and lets a test steer it.
//
// Usage: node idp.mjs
//
// It listens on two ports of loopback that the system chooses and says `listening on {"issuer": URL, "control": URL}`.
// Requests to the control address are POSTs of JSON, answered with JSON:
//
//   /settings  {"format": "jwt|opaque", "algorithm": "ES256|RS256", "ttlSeconds": …, "claims": {…}}   tokens from now on
//   /rotate    {"keep": true|false}              new signing keys; the last ones stay published, or do not
//   /outage    {"mode": "none|refuse|hang|error"}   no connection, no answer, or 500, until the next such request
//   /mint      {"key": …, "header": {…}, "payload": {…}}   any token, also a bad one (see keys.mjs)
//   /grant     {"client": …, "parameters": {…}}   what the token endpoint says to a program with a secret
//   /revoke    {"client": …, "token": …}         a token of a program without a secret is taken back
//   /authorize {"person": …, "resource": …, "scope": …}   the tokens that the program `desk` gets from this person
//   /documents {"url": …, "document": {…}}       what is found where the id of a client is a URL
//   /requests  {}                                what came since the last time: path, and the parameters that matter

import { text } from "node:stream/consumers";

import { granted, revoked, tokensOf } from "./asking.mjs";
import { Keys } from "./keys.mjs";
import { interact, newSecrets, provide } from "./provider.mjs";
import { listen, server } from "./serving.mjs";
import { memory } from "./store.mjs";

const INTERACTION = "/interaction/";

// Parameters of requests that tests look at; secrets, codes and tokens are not among them.
const SHOWN = ["grant_type", "client_id", "resource", "scope", "code_challenge_method", "redirect_uri"];

// What is kept of requests: a test looks long before there are so many.
const REQUESTS_MAX = 10_000;

const settings = { format: "jwt", algorithm: "ES256", ttlSeconds: 3600, claims: {} };
const documents = new Map();
const keys = new Keys();
const Adapter = memory();
const secrets = newSecrets();
const requests = [];
let outage = "none";
let provider;
let handle;

function renew() {
  provider = provide(issuer, { keys, settings, documents, Adapter, secrets });
  handle = provider.callback();
}

function note(request, url, body) {
  const parameters = new URLSearchParams(`${url.searchParams}&${body}`);
  const shown = SHOWN.filter((name) => parameters.has(name)).map((name) => [name, parameters.get(name)]);
  if (requests.length < REQUESTS_MAX) {
    requests.push({ method: request.method, path: url.pathname, ...Object.fromEntries(shown) });
  }
}

async function serve(request, response) {
  if (outage === "hang") return;
  if (outage === "error") {
    response.writeHead(500).end();
    return;
  }
  const url = new URL(request.url, issuer);
  const form = request.headers["content-type"]?.startsWith("application/x-www-form-urlencoded");
  // The provider takes a body that was read already.
  if (form) request.body = await text(request);
  note(request, url, form ? request.body : "");
  if (url.pathname.startsWith(INTERACTION)) await interact(provider, request, response);
  else await handle(request, response);
}

const front = server(serve);
const issuer = await listen(front);
const { port } = new URL(issuer);

async function setOutage({ mode }) {
  if (!["none", "refuse", "hang", "error"].includes(mode)) throw new Error(`no such outage: ${mode}`);
  if (mode === "refuse" && front.listening) {
    const closed = new Promise((resolve) => front.close(resolve));
    front.closeAllConnections();
    await closed;
  }
  // What was left hanging ends with the outage.
  if (outage === "hang" && mode !== "hang") front.closeAllConnections();
  outage = mode;
  if (mode !== "refuse" && !front.listening) await listen(front, port);
  return {};
}

const controls = {
  "/settings": (change) => Object.assign(settings, change),
  "/rotate": async ({ keep }) => {
    await keys.rotate(keep);
    renew();
    return { signing: keys.signing.map(({ kid }) => kid) };
  },
  "/outage": setOutage,
  "/mint": async (wanted) => ({ token: await keys.mint(wanted) }),
  "/grant": (wanted) => granted(issuer, wanted),
  "/revoke": (wanted) => revoked(issuer, wanted),
  "/authorize": (wanted) => tokensOf(issuer, wanted),
  "/documents": ({ url, document }) => {
    documents.set(url, document);
    return {};
  },
  "/requests": () => requests.splice(0),
};

async function control(request, response) {
  const act = controls[request.url];
  if (!act) {
    response.writeHead(404).end();
    return;
  }
  const answer = await act(JSON.parse(await text(request)));
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}

await keys.rotate(false);
renew();
console.log(`listening on ${JSON.stringify({ issuer, control: await listen(server(control)) })}`);
