//! What each pair of shapes keeps of a request: the documentation's table is made here.
//!
//! A feature is put into a request, said in the client's shape, read, said in the provider's shape, and looked for again. A client's
//! shape that has no words for it has no row.

#![expect(clippy::disallowed_methods, reason = "the table is written where somebody asks for it")]

use std::fmt::Write as _;

use quorate_llm::dialect::{Quirks, Target};
use quorate_llm::message::{
    Cache, Content, Effort, Format, Part, Reasoning, Request, Role, Signature, Source, Tool, ToolCall, ToolChoice, Turn,
};
use quorate_llm::{Dialect, Losses, codec};
use serde_json::value::RawValue;

/// The table, as the documentation has it.
const TABLE: &str = include_str!("golden/2026-11/pairs.md");
const PAGE: &str = include_str!("../../../docs/src/model-translation.md");

struct Probe {
    name: &'static str,
    put: fn(&mut Request),
    is_there: fn(&Request) -> bool,
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(text.to_owned()).expect("it is JSON"))
}

fn said(request: &mut Request, content: Content) {
    request.turns[0].parts.push(content.into());
}

fn has(request: &Request, is_it: impl Fn(&Content) -> bool) -> bool {
    request.turns.iter().flat_map(|turn| &turn.parts).any(|part| is_it(&part.content))
}

fn image(source: Source) -> Content {
    Content::Image { source, detail: None }
}

fn pixel() -> Source {
    Source::Inline { media_type: "image/png".to_owned(), data: "iVBORw0=".to_owned() }
}

fn url(path: &str) -> Source {
    Source::Url { url: format!("https://example.com/{path}"), media_type: None }
}

fn tool(request: &mut Request) -> &mut Tool {
    request.tools.push(Tool {
        name: "weather".to_owned(),
        description: Some("Tells the weather.".to_owned()),
        schema: raw(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#),
        strict: None,
        cache: None,
    });
    request.tools.last_mut().expect("it was just added")
}

fn call(id: &str, arguments: &str) -> Part {
    let (name, arguments) = ("weather".to_owned(), arguments.to_owned());
    Content::ToolCall(ToolCall { id: id.to_owned(), name, arguments, signature: None }).into()
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
    Content::ToolResult { id: id.to_owned(), parts, is_error }.into()
}

/// A conversation in which a tool was called twice at once.
fn called(request: &mut Request, first: Vec<Part>, is_error: bool) {
    tool(request);
    let calls = vec![call("call_0", r#"{"city":"Rome"}"#), call("call_1", r#"{"city":"Oslo"}"#)];
    request.turns.push(Turn { role: Role::Assistant, parts: calls });
    let results = vec![result("call_0", first, is_error), result("call_1", vec![Part::text("rain")], false)];
    request.turns.push(Turn { role: Role::User, parts: results });
}

fn thought(of: Dialect) -> Content {
    Content::Thought { text: "hm".to_owned(), signature: Some(Signature { of, text: "c2ln".to_owned() }) }
}

fn is_schema(request: &Request) -> bool {
    matches!(&request.format, Some(Format::Schema { schema, .. }) if schema.get().contains("properties"))
}

#[rustfmt::skip]
fn probes() -> Vec<Probe> {
    let probe = |name, put, is_there| Probe { name, put, is_there };
    vec![
        probe("text", |_| {}, |request| has(request, |content| *content == Content::Text("Hello".to_owned()))),
        probe("system prompt", |request| request.system.push(Part::text("Be brief.")),
            |request| request.system.iter().chain(request.turns.iter().flat_map(|turn| &turn.parts)).any(|part| part.content == Content::Text("Be brief.".to_owned()))),
        probe("image in the request", |request| said(request, image(pixel())), |request| has(request, |content| *content == image(pixel()))),
        probe("image by URL", |request| said(request, image(url("a.png"))), |request| has(request, |content| matches!(content, Content::Image { source: Source::Url { url, .. }, .. } if url.ends_with("a.png")))),
        probe("document in the request", |request| said(request, Content::Document { source: Source::Inline { media_type: "application/pdf".to_owned(), data: "JVBERi0=".to_owned() }, name: None }),
            |request| has(request, |content| matches!(content, Content::Document { source: Source::Inline { data, .. }, .. } if data == "JVBERi0="))),
        probe("document by URL", |request| said(request, Content::Document { source: url("a.pdf"), name: None }),
            |request| has(request, |content| matches!(content, Content::Document { source: Source::Url { url, .. }, .. } if url.ends_with("a.pdf")))),
        probe("recording", |request| said(request, Content::Audio { source: Source::Inline { media_type: "audio/wav".to_owned(), data: "UklGRg==".to_owned() } }),
            |request| has(request, |content| matches!(content, Content::Audio { .. }))),
        probe("tools", |request| { tool(request); }, |request| request.tools.iter().any(|tool| tool.name == "weather" && tool.schema.as_ref().is_some_and(|schema| schema.get().contains("city")))),
        probe("strict tools", |request| tool(request).strict = Some(true), |request| request.tools.iter().any(|tool| tool.strict == Some(true))),
        probe("a tool that must be called", |request| { tool(request); request.tool_choice = Some(ToolChoice::Named("weather".to_owned())); }, |request| request.tool_choice == Some(ToolChoice::Named("weather".to_owned()))),
        probe("one tool at a time", |request| { tool(request); request.parallel_tools = Some(false); }, |request| request.parallel_tools == Some(false)),
        probe("parallel calls and results", |request| called(request, vec![Part::text("sun")], false),
            |request| has(request, |content| matches!(content, Content::ToolCall(call) if call.arguments.contains("Oslo"))) && has(request, |content| matches!(content, Content::ToolResult { parts, .. } if parts[..] == [Part::text("rain")]))),
        probe("a call that failed", |request| called(request, vec![Part::text("no such city")], true), |request| has(request, |content| matches!(content, Content::ToolResult { is_error: true, .. }))),
        probe("an image that a tool showed", |request| called(request, vec![Part::text("look"), image(pixel()).into()], false),
            |request| has(request, |content| *content == image(pixel()) || matches!(content, Content::ToolResult { parts, .. } if parts.iter().any(|part| part.content == image(pixel()))))),
        probe("reasoning effort", |request| { request.reasoning = Some(Reasoning::Effort(Effort::High)); request.output_tokens_max = Some(30_000); },
            |request| matches!(request.reasoning, Some(Reasoning::Effort(Effort::High) | Reasoning::Tokens(24_576..=25_600)))),
        probe("what the provider thought before", |request| request.turns.push(Turn { role: Role::Assistant, parts: vec![thought(Dialect::Messages).into(), Part::text("Yes.")] }),
            |request| has(request, |content| *content == thought(Dialect::Messages))),
        probe("temperature, top_p", |request| { request.sampling.temperature = raw("0.70"); request.sampling.top_p = raw("0.9"); }, |request| request.sampling.temperature.as_ref().is_some_and(|value| value.get() == "0.70") && request.sampling.top_p.is_some()),
        probe("top_k", |request| request.sampling.top_k = raw("40"), |request| request.sampling.top_k.is_some()),
        probe("seed", |request| request.sampling.seed = raw("7"), |request| request.sampling.seed.is_some()),
        probe("penalties", |request| request.sampling.presence_penalty = raw("0.5"), |request| request.sampling.presence_penalty.is_some()),
        probe("most tokens", |request| request.output_tokens_max = Some(100), |request| request.output_tokens_max == Some(100)),
        probe("stop sequences", |request| request.stops = vec!["END".to_owned()], |request| request.stops == ["END"]),
        probe("several answers", |request| request.choices = Some(2), |request| request.choices == Some(2)),
        probe("JSON", |request| request.format = Some(Format::Json), |request| matches!(request.format, Some(Format::Json))),
        probe("JSON of a schema", |request| request.format = Some(Format::Schema { name: None, description: None, schema: raw(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#).expect("it is there"), strict: Some(true) }), is_schema),
        probe("cache marks", |request| request.system.push(Part { content: Content::Text("Long.".to_owned()), cache: Some(Cache::Short) }), |request| request.system.iter().any(|part| part.cache.is_some())),
        probe("end user", |request| request.user = Some("u-1".to_owned()), |request| request.user.is_some()),
        probe("stream", |request| request.is_streamed = true, |request| request.is_streamed),
    ]
}

/// What became of a feature on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    LeftOut,
    Refused,
    /// The client cannot say it.
    Unsaid,
}

fn base() -> Request {
    Request { turns: vec![Turn { role: Role::User, parts: vec![Part::text("Hello")] }], ..Request::default() }
}

/// Says a request in a shape, and reads it as that shape's provider would.
fn say(dialect: Dialect, request: &Request, losses: &mut Losses) -> Option<Request> {
    let target = Target { model: "m", quirks: Quirks::default(), output_tokens_default: 4_096 };
    let body = codec::write(dialect, request, &target, losses).ok()?;
    let text = String::from_utf8(body).expect("it is UTF-8");
    let read = codec::read(dialect, &text, request.is_streamed, &mut Losses::default());
    Some(read.unwrap_or_else(|fault| panic!("{dialect:?} reads what it writes: {fault:?} of {text}")))
}

fn fate(probe: &Probe, client: Dialect, provider: Dialect) -> Fate {
    let mut request = base();
    (probe.put)(&mut request);
    let Some(asked) = say(client, &request, &mut Losses::default()).filter(|asked| (probe.is_there)(asked)) else {
        return Fate::Unsaid;
    };
    let mut losses = Losses::default();
    match say(provider, &asked, &mut losses) {
        None => Fate::Refused,
        Some(told) if (probe.is_there)(&told) => Fate::Kept,
        Some(_) => {
            assert!(!losses.is_empty(), "{}, {client:?} to {provider:?}: lost without a word", probe.name);
            Fate::LeftOut
        }
    }
}

fn table() -> String {
    let mut text = String::from("| Client → provider |");
    let pairs: Vec<(Dialect, Dialect)> =
        Dialect::ALL.into_iter().flat_map(|client| Dialect::ALL.map(|provider| (client, provider))).collect();
    for (client, provider) in pairs.iter().filter(|(client, provider)| client != provider) {
        let _ = write!(text, " {} → {} |", client.api().label(), provider.api().label());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(pairs.len() - Dialect::ALL.len()));
    for probe in probes() {
        let _ = write!(text, "\n| {} |", probe.name);
        for (client, provider) in pairs.iter().filter(|(client, provider)| client != provider) {
            let word = match fate(&probe, *client, *provider) {
                Fate::Kept => "yes",
                Fate::LeftOut => "left out",
                Fate::Refused => "400",
                Fate::Unsaid => "",
            };
            let _ = write!(text, " {word} |");
        }
    }
    text.push('\n');
    text
}

#[test]
fn each_shape_keeps_what_it_can_say() {
    for dialect in Dialect::ALL {
        for probe in probes() {
            let fate = fate(&probe, dialect, dialect);
            assert!(matches!(fate, Fate::Kept | Fate::Unsaid), "{}, {dialect:?}: {fate:?}", probe.name);
        }
    }
}

/// Written anew with `WRITE_GOLDEN=1` in the environment.
#[test]
fn the_table_of_the_documentation_is_what_is_so() {
    let found = table();
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/2026-11/pairs.md"), &found)
            .expect("it can be written");
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/model-translation.md");
        std::fs::write(page, PAGE.replace(TABLE.trim_end(), found.trim_end())).expect("it can be written");
        panic!("written: now run without WRITE_GOLDEN");
    }
    assert_eq!(found, TABLE);
    assert!(PAGE.contains(TABLE.trim_end()), "the page of the documentation has the table");
}
