//! What each pair of shapes keeps of answers and of streams: the documentation's tables are made here.
//!
//! A feature is put into an answer, said in the provider's shape, read, said in the client's shape, and looked for again. A provider's
//! shape that has no words for it has no entry.

#![expect(clippy::disallowed_methods, reason = "the table is written where somebody asks for it")]

mod wire;

use std::fmt::Write as _;

use quorate_llm::answer::{Answer, Choice, Delta};
use quorate_llm::error::Kind;
use quorate_llm::exchange::Asked;
use quorate_llm::message::{Content, Part, Signature, ToolCall};
use quorate_llm::{Dialect, Fault, Stop, Usage, codec, pieces};
use wire::{MINT, exchanged, heard, written};

/// The tables, as the documentation has them.
const TABLES: &str = include_str!("golden/2026-11/answers.md");
const PAGE: &str = include_str!("../../../docs/src/model-translation.md");

/// What an answer says, whether it comes whole or in pieces.
struct Said {
    parts: Vec<Vec<Part>>,
    stops: Vec<Stop>,
    usage: Usage,
    /// Pieces of arguments that came, at most for one call.
    pieces: usize,
    has_failed: bool,
}

struct Probe {
    name: &'static str,
    put: fn(&mut Said, Dialect),
    is_there: fn(&Said) -> bool,
}

fn said() -> Said {
    let parts = vec![vec![Part::text("Hello")]];
    let usage = Usage { input: 90, output: 9, ..Usage::default() };
    Said { parts, stops: vec![Stop::End], usage, pieces: 1, has_failed: false }
}

fn signed(of: Dialect) -> Signature {
    Signature { of, text: "c2ln".to_owned() }
}

fn call(id: &str, signature: Option<Signature>) -> Part {
    let (name, arguments) = ("weather".to_owned(), r#"{"city":"Rome"}"#.to_owned());
    Content::ToolCall(ToolCall { id: id.to_owned(), name, arguments, signature }).into()
}

fn called(said: &mut Said, calls: Vec<Part>) {
    said.parts[0].extend(calls);
    said.stops[0] = Stop::ToolCalls;
}

fn has(said: &Said, is_it: impl Fn(&Content) -> bool) -> bool {
    said.parts[0].iter().any(|part| is_it(&part.content))
}

fn calls(said: &Said) -> usize {
    said.parts[0].iter().filter(|part| matches!(part.content, Content::ToolCall(_))).count()
}

#[rustfmt::skip]
fn probes() -> Vec<Probe> {
    let probe = |name, put, is_there| Probe { name, put, is_there };
    vec![
        probe("text", |_, _| {}, |said| has(said, |content| *content == Content::Text("Hello".to_owned()))),
        probe("thought", |said, _| said.parts[0].insert(0, Content::Thought { text: "hm".to_owned(), signature: None }.into()),
            |said| has(said, |content| matches!(content, Content::Thought { text, .. } if text == "hm"))),
        probe("signature of a thought", |said, own| said.parts[0].insert(0, Content::Thought { text: "hm".to_owned(), signature: Some(signed(own)) }.into()),
            |said| has(said, |content| matches!(content, Content::Thought { signature: Some(signature), .. } if signature.text == "c2ln"))),
        probe("sealed thought", |said, own| said.parts[0].insert(0, Content::SealedThought(signed(own)).into()),
            |said| has(said, |content| matches!(content, Content::SealedThought(seal) | Content::Thought { signature: Some(seal), .. } if seal.text == "c2ln"))),
        probe("call of a tool", |said, _| called(said, vec![call("c-0", None)]),
            |said| has(said, |content| content.as_call().is_some_and(|call| call.id == "c-0" && call.name == "weather" && call.arguments.contains("Rome")))),
        probe("parallel calls", |said, _| called(said, vec![call("c-0", None), call("c-1", None)]), |said| calls(said) == 2),
        probe("arguments in pieces", |said, _| { called(said, vec![call("c-0", None)]); said.pieces = 3; }, |said| said.pieces > 1),
        probe("signature of a call", |said, own| called(said, vec![call("c-0", Some(signed(own)))]),
            |said| has(said, |content| content.as_call().is_some_and(|call| call.signature.is_some()))),
        probe("refusal", |said, _| said.parts[0] = vec![Content::Refusal("No.".to_owned()).into()],
            |said| has(said, |content| matches!(content, Content::Refusal(_))) || said.stops[0] == Stop::Filtered),
        probe("it ends", |_, _| {}, |said| said.stops[0] == Stop::End),
        probe("it stops for a call", |said, _| called(said, vec![call("c-0", None)]), |said| said.stops[0] == Stop::ToolCalls),
        probe("it is cut at its most tokens", |said, _| said.stops[0] = Stop::Length, |said| said.stops[0] == Stop::Length),
        probe("it is filtered", |said, _| said.stops[0] = Stop::Filtered, |said| said.stops[0] == Stop::Filtered),
        probe("it comes to a stop sequence", |said, _| said.stops[0] = Stop::Text(Some("END".to_owned())), |said| said.stops[0] == Stop::Text(Some("END".to_owned()))),
        probe("it is paused", |said, _| said.stops[0] = Stop::Paused, |said| said.stops[0] == Stop::Paused),
        probe("tokens of input and output", |_, _| {}, |said| (said.usage.input, said.usage.output) == (90, 9)),
        probe("tokens from the cache", |said, _| said.usage.cached = 40, |said| (said.usage.input, said.usage.cached) == (90, 40)),
        probe("tokens to the cache", |said, _| said.usage.cache_written = 30, |said| (said.usage.input, said.usage.cache_written) == (90, 30)),
        probe("tokens of thoughts", |said, _| said.usage.reasoning = 5, |said| (said.usage.output, said.usage.reasoning) == (9, 5)),
        probe("several answers", |said, _| { said.parts.push(vec![Part::text("Hi")]); said.stops.push(Stop::End); }, |said| said.parts.len() == 2),
        probe("error in the midst", |said, _| said.has_failed = true, |said| said.has_failed),
    ]
}

// === impl Said: whole ===

impl Said {
    fn answer(&self) -> Option<Answer> {
        // What is whole has no pieces and no midst.
        if self.pieces > 1 || self.has_failed {
            return None;
        }
        let choices = self.parts.iter().zip(&self.stops);
        let choices = choices.map(|(parts, stop)| Choice { parts: parts.clone(), stop: stop.clone() });
        let (id, model) = ("id-1".to_owned(), "m-1".to_owned());
        Some(Answer { id, model, created_s: None, choices: choices.collect(), usage: Some(self.usage) })
    }

    fn of_answer(answer: Answer) -> Self {
        let (parts, stops) = answer.choices.into_iter().map(|choice| (choice.parts, choice.stop)).unzip();
        Self { parts, stops, usage: answer.usage.unwrap_or_default(), pieces: 1, has_failed: false }
    }

    /// How a provider of this shape says it.
    fn body(&self, dialect: Dialect) -> Option<Vec<u8>> {
        let asked = Asked { client: dialect, body: "{}", wants_usage: true };
        Some(codec::write_answer(&self.answer()?, &asked, &MINT).expect("it can be said"))
    }

    /// What is heard of it by whoever speaks this shape.
    fn told_whole(&self, dialect: Dialect) -> Option<Self> {
        Some(Self::of_answer(codec::read_answer(dialect, &self.body(dialect)?).expect("it is an answer")))
    }
}

// === impl Said: in pieces ===

impl Said {
    fn deltas(&self) -> Vec<Delta> {
        let mut deltas = vec![Delta::Begin { id: "id-1".to_owned(), model: "m-1".to_owned(), created_s: None }];
        for (choice, parts) in (0..).zip(&self.parts) {
            parts.iter().for_each(|part| self.add(choice, &part.content, &mut deltas));
        }
        if self.has_failed {
            deltas.push(Delta::Failed(Fault::new(Kind::Overloaded, "busy")));
            return deltas;
        }
        deltas.extend((0..).zip(&self.stops).map(|(choice, stop)| Delta::Stop { choice, stop: stop.clone() }));
        deltas.extend([Delta::Usage(self.usage), Delta::End]);
        deltas
    }

    fn add(&self, choice: u32, content: &Content, deltas: &mut Vec<Delta>) {
        match content {
            Content::Text(text) => deltas.push(Delta::Text { choice, text: text.clone() }),
            Content::Refusal(text) => deltas.push(Delta::Refusal { choice, text: text.clone() }),
            Content::SealedThought(data) => deltas.push(Delta::SealedThought { choice, data: data.clone() }),
            Content::Thought { text, signature } => {
                deltas.push(Delta::Thought { choice, text: text.clone() });
                deltas.extend(signature.clone().map(|signature| Delta::Signature { choice, signature }));
            }
            Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                deltas.push(Delta::ToolBegin { choice, id, name, signature });
                let size = arguments.len().div_ceil(self.pieces);
                let pieces = arguments.as_bytes().chunks(size).map(|piece| String::from_utf8_lossy(piece).into_owned());
                deltas.extend(pieces.map(|text| Delta::Arguments { choice, text }));
            }
            other => panic!("no answer has it: {other:?}"),
        }
    }

    fn of_deltas(deltas: &[Delta]) -> Self {
        let mut said =
            Self { parts: vec![vec![]], stops: vec![Stop::End], pieces: 0, usage: Usage::default(), has_failed: false };
        for delta in deltas {
            said.hear(delta);
        }
        said
    }

    fn hear(&mut self, delta: &Delta) {
        match delta {
            Delta::Text { choice, text } => self.part(*choice, Content::Text(text.clone())),
            Delta::Refusal { choice, text } => self.part(*choice, Content::Refusal(text.clone())),
            Delta::Thought { choice, text } => {
                self.part(*choice, Content::Thought { text: text.clone(), signature: None })
            }
            Delta::Signature { choice, signature } => {
                let signature = Some(signature.clone());
                self.part(*choice, Content::Thought { text: String::new(), signature });
            }
            Delta::SealedThought { choice, data } => self.part(*choice, Content::SealedThought(data.clone())),
            Delta::ToolBegin { choice, id, name, signature } => {
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                self.part(*choice, Content::ToolCall(ToolCall { id, name, arguments: String::new(), signature }));
            }
            Delta::Arguments { choice, text } => {
                self.pieces += 1;
                let last = self.parts[*choice as usize].last_mut().map(|part| &mut part.content);
                let Some(Content::ToolCall(call)) = last else { panic!("arguments of no call") };
                call.arguments.push_str(text);
            }
            Delta::Stop { choice, stop } => {
                self.stops.resize((*choice as usize + 1).max(self.stops.len()), Stop::End);
                self.stops[*choice as usize] = stop.clone();
            }
            Delta::Usage(usage) => self.usage = *usage,
            Delta::Failed(_) => self.has_failed = true,
            Delta::Begin { .. } | Delta::End => {}
        }
    }

    fn part(&mut self, choice: u32, content: Content) {
        self.parts.resize((choice as usize + 1).max(self.parts.len()), Vec::new());
        self.parts[choice as usize].push(content.into());
    }
}

/// What became of a feature of a whole answer; none where the provider cannot say it.
fn whole(probe: &Probe, provider: Dialect, client: Dialect) -> Option<bool> {
    let mut all = said();
    (probe.put)(&mut all, provider);
    let heard = all.told_whole(provider).filter(|heard| (probe.is_there)(heard))?;
    Some((probe.is_there)(&heard.told_whole(client)?))
}

/// The same where the client asked for a stream, and the provider answered whole.
fn whole_as_stream(probe: &Probe, provider: Dialect, client: Dialect) -> Option<bool> {
    let mut all = said();
    (probe.put)(&mut all, provider);
    let body = all.told_whole(provider).filter(|heard| (probe.is_there)(heard)).and(all.body(provider))?;
    let events = pieces::of_whole(provider, &body).expect("it is an answer");
    let (got, _) = exchanged(provider, client, &events, true);
    Some((probe.is_there)(&Said::of_deltas(&heard(client, &got))))
}

/// What became of it in pieces.
fn in_pieces(probe: &Probe, provider: Dialect, client: Dialect) -> Option<bool> {
    let mut all = said();
    (probe.put)(&mut all, provider);
    let events = written(provider, &all.deltas());
    let datas: Vec<_> = events.iter().map(|event| event.data.clone()).collect();
    Some(Said::of_deltas(&heard(provider, &datas))).filter(|told| (probe.is_there)(told))?;
    let (got, _) = exchanged(provider, client, &events, true);
    Some((probe.is_there)(&Said::of_deltas(&heard(client, &got))))
}

fn table(title: &str, fate: fn(&Probe, Dialect, Dialect) -> Option<bool>) -> String {
    let all = Dialect::ALL.into_iter().flat_map(|provider| Dialect::ALL.map(|client| (provider, client)));
    let pairs: Vec<_> = all.filter(|(provider, client)| provider != client).collect();
    let mut text = format!("| {title}: provider → client |");
    for (provider, client) in &pairs {
        let _ = write!(text, " {} → {} |", provider.api().label(), client.api().label());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(pairs.len()));
    text.push('\n');
    for probe in probes() {
        let fates: Vec<_> = pairs.iter().map(|(provider, client)| fate(&probe, *provider, *client)).collect();
        // What no provider can say is no row.
        if fates.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "| {} |", probe.name);
        for fate in fates {
            let word = match fate {
                Some(true) => " yes |",
                Some(false) => " left out |",
                None => "  |",
            };
            text.push_str(word);
        }
        text.push('\n');
    }
    text
}

#[test]
fn an_answer_that_comes_whole_for_a_stream_keeps_what_a_whole_one_does() {
    for (provider, client) in
        Dialect::ALL.into_iter().flat_map(|provider| Dialect::ALL.map(|client| (provider, client)))
    {
        for probe in probes() {
            let (expected, found) = (whole(&probe, provider, client), whole_as_stream(&probe, provider, client));
            assert_eq!(found, expected, "{}, {provider:?} to {client:?}", probe.name);
        }
    }
}

/// Written anew with `WRITE_GOLDEN=1` in the environment.
#[test]
fn the_tables_of_the_documentation_are_what_is_so() {
    let found = format!("{}\n{}", table("Answer", whole), table("Stream", in_pieces));
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/2026-11/answers.md"), &found)
            .expect("it can be written");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/model-translation.md");
        std::fs::write(page, PAGE.replace(TABLES.trim_end(), found.trim_end())).expect("it can be written");
        panic!("written: now run without WRITE_GOLDEN");
    }
    assert_eq!(found, TABLES);
    assert!(PAGE.contains(TABLES.trim_end()), "the page of the documentation has the tables");
}
