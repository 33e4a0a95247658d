//! Golden files: what each shape says in its provider's documentation, and what it is said as in each other shape.
//!
//! ```text
//!  golden/2026-11/<dialect>/request/<case>.json   what a client asks
//!  golden/2026-11/<dialect>/answer/<case>.json    what a provider answers
//!  golden/2026-11/<dialect>/stream/<case>.sse     what it answers in pieces
//!  golden/2026-11/<dialect>/errors.json           how it refuses
//!  golden/2026-11/<client>-to-<provider>/…        the request as the provider gets it, the rest as the client gets it
//! ```
//!
//! Inputs are written by hand. What they are translated into is written anew with `WRITE_GOLDEN=1` in the environment, and read by a
//! person before it is kept.

#![expect(clippy::disallowed_methods, reason = "golden files are files")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::StatusCode;
use quorate_llm::dialect::{Mint, Quirks, SentEvent, Target};
use quorate_llm::exchange::{Asked, Exchange, Received, Sent};
use quorate_llm::{Dialect, Fault, Losses, codec};
use serde::Deserialize;
use serde_json::value::RawValue;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/2026-11");
const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

/// The name of a shape's folder.
const fn folder(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => "chat",
        Dialect::Responses => "responses",
        Dialect::Messages => "messages",
        Dialect::Generate => "generate",
    }
}

/// The model that a provider of a shape is asked for: its name says what it takes.
const fn model(provider: Dialect) -> &'static str {
    match provider {
        Dialect::Chat | Dialect::Responses => "gpt-5.2",
        Dialect::Messages => "claude-sonnet-4-5",
        Dialect::Generate => "gemini-3-pro",
    }
}

fn asked(client: Dialect) -> Asked<'static> {
    Asked { client, body: "{}", wants_usage: true }
}

/// The files of a folder, by name.
fn inputs(dialect: Dialect, kind: &str) -> Vec<(String, String)> {
    let folder = Path::new(ROOT).join(folder(dialect)).join(kind);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<(String, String)> = paths.map(|path| (name(&path), read(&path))).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().expect("it is a file").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// JSON with a member or element a line; numbers and the order of members stay as they are written.
fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut in_text, mut is_escaped) = (String::new(), 0, false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_text {
            out.push(letter);
            in_text = is_escaped || letter != '"';
            is_escaped = letter == '\\' && !is_escaped;
            continue;
        }
        match letter {
            '{' | '[' if letters.peek().is_some_and(|next| matches!(next, '}' | ']')) => out.push(letter),
            '{' | '[' => {
                depth += 1;
                out.push(letter);
                line(&mut out, depth);
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth -= 1;
                    line(&mut out, depth);
                }
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter if letter.is_ascii_whitespace() => {}
            letter => {
                in_text = letter == '"';
                out.push(letter);
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    let all = Dialect::ALL.into_iter().flat_map(|client| Dialect::ALL.map(|provider| (client, provider)));
    all.filter(|(client, provider)| client != provider)
}

/// What was found, beside what is expected of each pair.
#[derive(Default)]
struct Found(Vec<(PathBuf, String)>);

// === impl Found ===

impl Found {
    fn add(&mut self, (client, provider): (Dialect, Dialect), path: &str, text: String) {
        let pair = format!("{}-to-{}", folder(client), folder(provider));
        self.0.push((Path::new(ROOT).join(pair).join(path), text));
    }

    fn check(self) {
        if std::env::var_os("WRITE_GOLDEN").is_some() {
            for (path, text) in &self.0 {
                fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
                fs::write(path, text).expect("it can be written");
            }
            panic!("written: now run without WRITE_GOLDEN");
        }
        for (path, text) in &self.0 {
            assert_eq!(*text, read(path), "{}", path.display());
        }
        // One that nothing is translated into any more would look as if it were so.
        for folder in self.0.iter().filter_map(|(path, _)| path.parent()).filter(|folder| !is_pair(folder)) {
            for entry in fs::read_dir(folder).expect("it is there") {
                let path = entry.expect("it can be listed").path();
                assert!(self.0.iter().any(|(known, _)| *known == path), "{} is of no input", path.display());
            }
        }
    }
}

/// Whether a folder is that of a pair, which holds what several tests make.
fn is_pair(folder: &Path) -> bool {
    folder.parent() == Some(Path::new(ROOT))
}

/// A request as the provider gets it, with what is left out; or the refusal as the client gets it.
fn translated(client: Dialect, provider: Dialect, body: &str) -> String {
    let mut losses = Losses::default();
    let target = Target { model: model(provider), quirks: Quirks::default(), output_tokens_default: 4_096 };
    let request = codec::read(client, body, false, &mut losses);
    match request.and_then(|request| codec::write(provider, &request, &target, &mut losses)) {
        Ok(written) => {
            let lost: Vec<String> = losses.iter().map(|loss| format!("{:?}", loss.name())).collect();
            let written = String::from_utf8(written).expect("it is text");
            format!("{}\n", pretty(&format!(r#"{{"left_out":[{}],"body":{written}}}"#, lost.join(","))))
        }
        Err(fault) => refused(client, &fault),
    }
}

fn refused(client: Dialect, fault: &Fault) -> String {
    let body = fault.body(client.api().family());
    format!("{}\n", pretty(&format!(r#"{{"status":{},"body":{body}}}"#, fault.kind.status().as_u16())))
}

#[test]
fn requests_are_what_their_provider_documents() {
    let mut found = Found::default();
    for (client, provider) in pairs() {
        for (name, body) in inputs(client, "request") {
            found.add((client, provider), &format!("request/{name}"), translated(client, provider, &body));
        }
    }
    found.check();
}

#[test]
fn answers_are_what_their_client_documents() {
    let mut found = Found::default();
    for (client, provider) in pairs() {
        for (name, body) in inputs(provider, "answer") {
            let answer = codec::read_answer(provider, body.as_bytes());
            let text = match answer.and_then(|answer| codec::write_answer(&answer, &asked(client), &MINT)) {
                Ok(written) => format!("{}\n", pretty(std::str::from_utf8(&written).expect("it is text"))),
                Err(fault) => refused(client, &fault),
            };
            found.add((client, provider), &format!("answer/{name}"), text);
        }
    }
    found.check();
}

/// The events of a stream, as a parser of `text/event-stream` gives them.
fn events(text: &str) -> Vec<Received> {
    let frames = text.split("\n\n").filter(|frame| !frame.trim().is_empty());
    let event = |frame: &str| {
        let field = |name: &str| frame.lines().find_map(|line| Some(Bytes::from(line.strip_prefix(name)?.to_owned())));
        Received { name: field("event: "), data: field("data: ").expect("it has data") }
    };
    frames.map(event).collect()
}

fn shown(events: &[SentEvent]) -> String {
    let mut text = String::new();
    for event in events {
        if let Some(name) = event.name {
            let _ = writeln!(text, "event: {name}");
        }
        let _ = writeln!(text, "data: {}\n", std::str::from_utf8(&event.data).expect("it is text"));
    }
    text
}

#[test]
fn streams_are_what_their_client_documents() {
    let mut found = Found::default();
    for (client, provider) in pairs() {
        for (name, text) in inputs(provider, "stream") {
            let mut exchange = Exchange::new(provider, &asked(client));
            let mut sent = Vec::new();
            for event in events(&text) {
                match exchange.take(&event, &MINT) {
                    Sent::Same => panic!("{name}: nothing is the same in two shapes"),
                    Sent::Events(events) => sent.extend(events),
                }
            }
            sent.extend(exchange.end(&MINT));
            found.add((client, provider), &format!("stream/{name}"), shown(&sent));
        }
    }
    found.check();
}

#[derive(Deserialize)]
struct Refusal {
    status: u16,
    body: Box<RawValue>,
}

#[test]
fn refusals_are_what_their_client_documents() {
    let mut found = Found::default();
    for (client, provider) in pairs() {
        let text = read(&Path::new(ROOT).join(folder(provider)).join("errors.json"));
        let refusals: Vec<Refusal> = serde_json::from_str(&text).expect("it is a list of refusals");
        let told = refusals.iter().map(|refusal| {
            let status = StatusCode::from_u16(refusal.status).expect("it is one");
            let fault = Fault::of_provider(status, refusal.body.get().as_bytes(), None);
            let (told, body) = (fault.kind.status().as_u16(), fault.body(client.api().family()));
            format!(r#"{{"of":{},"status":{told},"body":{body}}}"#, refusal.status)
        });
        let told: Vec<String> = told.collect();
        found.add((client, provider), "errors.json", format!("{}\n", pretty(&format!("[{}]", told.join(",")))));
    }
    found.check();
}
