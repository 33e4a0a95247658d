//! Answers of messages in pieces.
//!
//! ```text
//!  message_start ─▶ ( content_block_start ─▶ content_block_delta* ─▶ content_block_stop )* ─▶ message_delta ─▶ message_stop
//! ```
//!
//! A provider tells the input with `message_start` and the whole with `message_delta`. Blocks are written one after the other: each
//! change of what the model says closes one and opens the next.

use quorate_jsonrpc::quote;
use serde::Deserialize;

use super::{UsageRow, stop_of, stop_reason, usage_json};
use crate::answer::{Delta, Stop, Usage};
use crate::api::{Dialect, Family};
use crate::dialect::{Mint, SentEvent, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::Signature;

#[derive(Deserialize)]
struct Event {
    r#type: String,
    index: Option<u64>,
    message: Option<Begun>,
    content_block: Option<Block>,
    delta: Option<Piece>,
    usage: Option<UsageRow>,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(default)]
    id: String,
    #[serde(default)]
    model: String,
    usage: Option<UsageRow>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    id: Option<String>,
    name: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Piece {
    r#type: Option<String>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    usage: Usage,
    block: Option<Reading>,
    is_done: bool,
}

/// The block that is under way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Its number, where the provider counts.
    index: Option<u64>,
    /// Whether it is of a kind that other shapes have.
    is_known: bool,
}

// === impl Reader ===

impl Reader {
    /// Reads the data of one event; its name is in it.
    ///
    /// # Errors
    /// [`Kind::Provider`] for what is no event.
    pub fn read(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), Fault> {
        if self.is_done {
            return Ok(());
        }
        let event: Event = parse_answer(data)?;
        match event.r#type.as_str() {
            "message_start" => {
                let begun = event.message.ok_or_else(|| Fault::new(Kind::Provider, "message_start has no message"))?;
                self.usage.update(&begun.usage.unwrap_or_default().usage());
                out.push(Delta::Begin { id: begun.id, model: begun.model, created_s: None });
            }
            "content_block_start" => {
                let block = event.content_block.ok_or_else(|| disorder("begins a block that is none"))?;
                self.begin(event.index, &block)?;
                out.extend(begin_block(block));
            }
            "content_block_delta" => {
                let is_known = self.current(event.index)?.is_known;
                out.extend(event.delta.filter(|_| is_known).and_then(piece));
            }
            "content_block_stop" => {
                self.current(event.index)?;
                self.block = None;
            }
            "message_delta" => {
                self.usage.update(&event.usage.unwrap_or_default().usage());
                let reason = event.delta.and_then(|delta| Some((delta.stop_reason?, delta.stop_sequence)));
                out.extend(reason.map(|(reason, text)| Delta::Stop { choice: 0, stop: stop_of(&reason, text) }));
                out.push(Delta::Usage(self.usage));
            }
            "message_stop" => {
                self.is_done = true;
                out.push(Delta::End);
            }
            "error" => {
                self.is_done = true;
                let status = http::StatusCode::INTERNAL_SERVER_ERROR;
                out.push(Delta::Failed(Fault::of_provider(status, data, None)));
            }
            // `ping`, and what is to come: new kinds are to be expected.
            _ => {}
        }
        Ok(())
    }
}

// === impl Reader, the block that is under way ===

impl Reader {
    fn begin(&mut self, index: Option<u64>, block: &Block) -> Result<(), Fault> {
        if self.block.is_some_and(|open| index.is_some() && open.index == index) {
            return Err(disorder("begins a block twice"));
        }
        let is_known = matches!(block.r#type.as_str(), "text" | "thinking" | "redacted_thinking" | "tool_use");
        self.block = Some(Reading { index, is_known });
        Ok(())
    }

    fn current(&self, index: Option<u64>) -> Result<Reading, Fault> {
        let open = self.block.filter(|open| index.is_none() || open.index.is_none() || open.index == index);
        open.ok_or_else(|| disorder("goes on with a block that is over"))
    }
}

fn disorder(what: &str) -> Fault {
    Fault::new(Kind::Provider, format!("the provider's stream {what}"))
}

fn begin_block(block: Block) -> Option<Delta> {
    let full = |text: Option<String>| text.filter(|text| !text.is_empty());
    match block.r#type.as_str() {
        "tool_use" => Some(Delta::ToolBegin { choice: 0, id: block.id?, name: block.name?, signature: None }),
        "redacted_thinking" => {
            Some(Delta::SealedThought { choice: 0, data: Signature::read(Dialect::Messages, block.data?) })
        }
        "text" => full(block.text).map(|text| Delta::Text { choice: 0, text }),
        "thinking" => full(block.thinking).map(|text| Delta::Thought { choice: 0, text }),
        _ => None,
    }
}

fn piece(piece: Piece) -> Option<Delta> {
    match piece.r#type.as_deref()? {
        "text_delta" => Some(Delta::Text { choice: 0, text: piece.text? }),
        "thinking_delta" => Some(Delta::Thought { choice: 0, text: piece.thinking? }),
        "signature_delta" => {
            Some(Delta::Signature { choice: 0, signature: Signature::read(Dialect::Messages, piece.signature?) })
        }
        "input_json_delta" => {
            piece.partial_json.filter(|text| !text.is_empty()).map(|text| Delta::Arguments { choice: 0, text })
        }
        _ => None,
    }
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Writer {
    /// Blocks that were opened.
    blocks: usize,
    open: Option<Open>,
    has_refused: bool,
    stop: Option<Stop>,
    usage: Usage,
}

/// What the block that is open holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
    Tool,
}

// === impl Writer ===

impl Writer {
    /// Writes the events that say a piece.
    pub fn write(&mut self, delta: &Delta, mint: &Mint<'_>, out: &mut Vec<SentEvent>) {
        match delta {
            Delta::Begin { id, model, .. } => {
                let (id, model) = (quote(mint.id_of(id)), quote(model));
                let usage = usage_json(&Usage::default());
                let message = format!(
                    r#"{{"id":{id},"type":"message","role":"assistant","model":{model},"content":[],"stop_reason":null,"stop_sequence":null,"usage":{usage}}}"#
                );
                out.push(event("message_start", &format!(r#""message":{message}"#)));
            }
            // There is one answer.
            Delta::Text { choice, .. }
            | Delta::Thought { choice, .. }
            | Delta::Signature { choice, .. }
            | Delta::SealedThought { choice, .. }
            | Delta::Refusal { choice, .. }
            | Delta::ToolBegin { choice, .. }
            | Delta::Arguments { choice, .. }
            | Delta::Stop { choice, .. }
                if *choice > 0 => {}
            Delta::Text { text, .. } | Delta::Refusal { text, .. } => {
                self.has_refused |= matches!(delta, Delta::Refusal { .. });
                self.in_block(Open::Text, r#"{"type":"text","text":""}"#, out);
                self.piece("text_delta", "text", text, out);
            }
            Delta::Thought { text, .. } => {
                self.in_block(Open::Thought, r#"{"type":"thinking","thinking":"","signature":""}"#, out);
                self.piece("thinking_delta", "thinking", text, out);
            }
            Delta::Signature { signature, .. } => {
                self.in_block(Open::Thought, r#"{"type":"thinking","thinking":"","signature":""}"#, out);
                self.piece("signature_delta", "signature", &signature.shown(Dialect::Messages), out);
                // What is thought then is another thought.
                self.close(out);
            }
            Delta::SealedThought { data, .. } => {
                let data = quote(&data.shown(Dialect::Messages));
                self.begin(Open::Thought, &format!(r#"{{"type":"redacted_thinking","data":{data}}}"#), out);
                self.close(out);
            }
            Delta::ToolBegin { id, name, .. } => {
                let (id, name) = (quote(id), quote(name));
                self.begin(Open::Tool, &format!(r#"{{"type":"tool_use","id":{id},"name":{name},"input":{{}}}}"#), out);
            }
            Delta::Arguments { text, .. } => self.piece("input_json_delta", "partial_json", text, out),
            Delta::Stop { stop, .. } => self.stop = Some(stop.clone()),
            Delta::Usage(usage) => self.usage.update(usage),
            Delta::Failed(fault) => out.push(SentEvent::named("error", fault.body(Family::Anthropic))),
            Delta::End => self.end(out),
        }
    }

    fn end(&mut self, out: &mut Vec<SentEvent>) {
        self.close(out);
        let said = self.stop.take().unwrap_or(Stop::End);
        let stop = if self.has_refused && said == Stop::End { Stop::Filtered } else { said };
        let (reason, sequence) = stop_reason(&stop);
        let sequence = sequence.map_or_else(|| "null".to_owned(), quote);
        let delta = format!(r#"{{"stop_reason":"{reason}","stop_sequence":{sequence}}}"#);
        out.push(event("message_delta", &format!(r#""delta":{delta},"usage":{}"#, usage_json(&self.usage))));
        out.push(SentEvent::named("message_stop", r#"{"type":"message_stop"}"#.to_owned()));
    }

    fn in_block(&mut self, wanted: Open, block: &str, out: &mut Vec<SentEvent>) {
        if self.open != Some(wanted) {
            self.begin(wanted, block, out);
        }
    }

    fn begin(&mut self, what: Open, block: &str, out: &mut Vec<SentEvent>) {
        self.close(out);
        self.open = Some(what);
        self.blocks += 1;
        out.push(event("content_block_start", &format!(r#""index":{},"content_block":{block}"#, self.blocks - 1)));
    }

    fn close(&mut self, out: &mut Vec<SentEvent>) {
        if self.open.take().is_some() {
            out.push(event("content_block_stop", &format!(r#""index":{}"#, self.blocks - 1)));
        }
    }

    fn piece(&self, kind: &str, member: &str, text: &str, out: &mut Vec<SentEvent>) {
        let delta = format!(r#"{{"type":"{kind}","{member}":{}}}"#, quote(text));
        let index = self.blocks.saturating_sub(1);
        out.push(event("content_block_delta", &format!(r#""index":{index},"delta":{delta}"#)));
    }
}

/// An event, whose name is its type as well.
pub(crate) fn event(name: &'static str, members: &str) -> SentEvent {
    SentEvent::named(name, format!(r#"{{"type":"{name}",{members}}}"#))
}
