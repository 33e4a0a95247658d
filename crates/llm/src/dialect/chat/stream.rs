//! Answers of chat completions in pieces: `data: {…}` chunks until `data: [DONE]`.
//!
//! A provider that ends its stream without `[DONE]` but has said why it stops has said everything; some do. Without either, it was cut.

use std::borrow::Cow;

use bytes::Bytes;
use quorate_jsonrpc::quote;
use serde::Deserialize;

use super::{UsageRow, finish_of, stop_of, usage_json};
use crate::answer::{CHOICES_MAX, Delta, Stop};
use crate::api::Family;
use crate::dialect::frame::Frame;
use crate::dialect::{Mint, SentEvent, parse_answer};
use crate::error::{Fault, Kind};

#[derive(Deserialize)]
struct Chunk<'a> {
    // Each chunk has them, and the first one's count.
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    created: Option<u64>,
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    #[serde(borrow, default)]
    choices: Vec<Row<'a>>,
    usage: Option<UsageRow>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    delta: Option<Piece<'a>>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

/// A text as it stands in the chunk, where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Call {
    index: Option<u32>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    /// The call that is under way of each answer, by the provider's number.
    calling: Vec<(u32, u32)>,
    /// Answers that have called a tool.
    called: Vec<u32>,
    /// Answers that have begun, and whether they are over.
    choices: Vec<(u32, bool)>,
    is_done: bool,
    /// Around the last text, and whose it was.
    frame: (Frame, u32),
}

// === impl Reader ===

impl Reader {
    /// Reads the data of one event.
    ///
    /// # Errors
    /// [`Kind::Provider`] for what is no chunk.
    pub fn read(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), Fault> {
        if self.is_done {
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            self.is_done = true;
            out.push(Delta::End);
            return Ok(());
        }
        let (frame, choice) = &self.frame;
        if let Some(text) = frame.text(data) {
            out.push(Delta::Text { choice: *choice, text: text.to_owned() });
            return Ok(());
        }
        let chunk: Chunk<'_> = parse_answer(data)?;
        let before = out.len();
        if chunk.error.is_some() {
            self.is_done = true;
            out.push(Delta::Failed(Fault::of_provider(http::StatusCode::INTERNAL_SERVER_ERROR, data, None)));
            return Ok(());
        }
        // Azure says first what it thinks of the prompt, in a chunk without id and model.
        if !self.has_begun && (!chunk.choices.is_empty() || chunk.usage.is_some()) {
            self.has_begun = true;
            let (id, model) = (chunk.id.into_owned(), chunk.model.into_owned());
            out.push(Delta::Begin { id, model, created_s: chunk.created });
        }
        let text = chunk.choices.first().and_then(Row::text);
        for row in chunk.choices {
            self.read_row(row, out)?;
        }
        out.extend(chunk.usage.map(|usage| Delta::Usage(usage.usage())));
        if let (Some(text), [Delta::Text { choice, .. }]) = (text, &out[before..])
            && self.frame.0.learn(data, text)
        {
            self.frame.1 = *choice;
        }
        Ok(())
    }

    /// Reads the end of the stream.
    pub fn end(&mut self, out: &mut Vec<Delta>) {
        if !self.is_done && !self.choices.is_empty() && self.choices.iter().all(|(_, is_over)| *is_over) {
            out.push(Delta::End);
        }
        self.is_done = true;
    }

    fn read_row(&mut self, row: Row<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
        let choice = row.index;
        if !self.choices.iter().any(|(known, _)| *known == choice) {
            if self.choices.len() >= CHOICES_MAX {
                return Err(Fault::new(Kind::Provider, "the provider gives too many answers"));
            }
            self.choices.push((choice, false));
        }
        if let Some(piece) = row.delta {
            let full = |text: Option<String>| text.filter(|text| !text.is_empty());
            let thought = full(piece.reasoning_content).or(full(piece.reasoning));
            out.extend(thought.map(|text| Delta::Thought { choice, text }));
            let content = piece.content.map(|Text(text)| text.into_owned());
            out.extend(full(content).map(|text| Delta::Text { choice, text }));
            out.extend(full(piece.refusal).map(|text| Delta::Refusal { choice, text }));
            for call in piece.tool_calls.unwrap_or_default() {
                self.read_call(choice, call, out)?;
            }
        }
        // Some servers say an empty one until there is one.
        if let Some(finish) = row.finish_reason.filter(|finish| !finish.is_empty()) {
            self.choices.iter_mut().filter(|(of, _)| *of == choice).for_each(|(_, is_over)| *is_over = true);
            let has_called = finish == "stop" && self.called.contains(&choice);
            let stop = if has_called { Stop::ToolCalls } else { stop_of(&finish) };
            out.push(Delta::Stop { choice, stop });
        }
        Ok(())
    }

    fn read_call(&mut self, choice: u32, call: Call, out: &mut Vec<Delta>) -> Result<(), Fault> {
        let current = self.calling.iter().position(|(of, _)| *of == choice);
        let number = current.map(|at| self.calling[at].1);
        let Function { name, arguments } = call.function.unwrap_or(Function { name: None, arguments: None });
        // Servers that give no numbers give each call at once, with its name.
        let index =
            call.index.or(number.filter(|_| name.is_none())).unwrap_or_else(|| number.map_or(0, |last| last + 1));
        if number != Some(index) {
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                return Err(Fault::new(Kind::Provider, "the provider went on with a call that is over"));
            };
            match current {
                Some(at) => self.calling[at].1 = index,
                None => self.calling.push((choice, index)),
            }
            if !self.called.contains(&choice) {
                self.called.push(choice);
            }
            let id = call.id.unwrap_or_default();
            out.push(Delta::ToolBegin { choice, id, name, signature: None });
        }
        let arguments = arguments.filter(|text| !text.is_empty());
        out.extend(arguments.map(|text| Delta::Arguments { choice, text }));
        Ok(())
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    /// What it says, if that is a part of the chunk's bytes.
    fn text(&self) -> Option<&'a str> {
        match self.delta.as_ref()?.content {
            Some(Text(Cow::Borrowed(text))) => Some(text),
            Some(Text(Cow::Owned(_))) | None => None,
        }
    }
}

/// Writes a stream for a client.
#[derive(Debug)]
pub struct Writer {
    /// `{"id":…,"object":…,"created":…,"model":…`, which every chunk begins with.
    head: String,
    /// Whether the client asked for what it cost.
    tells_usage: bool,
    /// How many calls each answer has made.
    calls: Vec<(u32, u32)>,
    /// Answers that have begun, and whose role is told.
    begun: Vec<u32>,
    usage: Option<String>,
}

// === impl Writer ===

impl Writer {
    /// Begins a stream for a client that asked for what it costs, or not.
    #[must_use]
    pub const fn new(tells_usage: bool) -> Self {
        Self { head: String::new(), tells_usage, calls: Vec::new(), begun: Vec::new(), usage: None }
    }

    /// Writes the events that say a piece.
    pub fn write(&mut self, delta: &Delta, mint: &Mint<'_>, out: &mut Vec<SentEvent>) {
        match delta {
            Delta::Begin { id, model, created_s } => {
                let (id, created) = (quote(mint.id_of(id)), created_s.unwrap_or(mint.now_s));
                let model = quote(model);
                self.head =
                    format!(r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model}"#);
            }
            Delta::Text { choice, text } => self.piece(*choice, &format!(r#""content":{}"#, quote(text)), out),
            Delta::Thought { choice, text } => {
                self.piece(*choice, &format!(r#""reasoning_content":{}"#, quote(text)), out);
            }
            Delta::Refusal { choice, text } => self.piece(*choice, &format!(r#""refusal":{}"#, quote(text)), out),
            // They say nothing to anybody but their provider.
            Delta::Signature { .. } | Delta::SealedThought { .. } => {}
            Delta::ToolBegin { choice, id, name, .. } => {
                let index = self.next_call(*choice);
                let call = format!(
                    r#""tool_calls":[{{"index":{index},"id":{},"type":"function","function":{{"name":{},"arguments":""}}}}]"#,
                    quote(id),
                    quote(name)
                );
                self.piece(*choice, &call, out);
            }
            Delta::Arguments { choice, text } => {
                let index = self.last_call(*choice);
                let call = format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":{}}}}}]"#, quote(text));
                self.piece(*choice, &call, out);
            }
            Delta::Stop { choice, stop } => {
                // An answer without words has a beginning too.
                if !self.begun.contains(choice) {
                    self.piece(*choice, r#""content":"""#, out);
                }
                let finish = finish_of(stop);
                self.chunk(
                    &format!(r#"{{"index":{choice},"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}"#),
                    out,
                );
            }
            Delta::Usage(usage) => self.usage = Some(usage_json(usage)),
            Delta::Failed(fault) => out.push(SentEvent::data(fault.body(Family::OpenAi))),
            Delta::End => {
                if let Some(usage) = self.usage.take().filter(|_| self.tells_usage) {
                    out.push(SentEvent::data(format!(r#"{},"choices":[],"usage":{usage}}}"#, self.head)));
                }
                out.push(SentEvent { name: None, data: Bytes::from_static(b"[DONE]") });
            }
        }
    }

    fn piece(&mut self, choice: u32, member: &str, out: &mut Vec<SentEvent>) {
        let role = if self.begun.contains(&choice) {
            ""
        } else {
            self.begun.push(choice);
            r#""role":"assistant","#
        };
        let row = format!(r#"{{"index":{choice},"delta":{{{role}{member}}},"logprobs":null,"finish_reason":null}}"#);
        self.chunk(&row, out);
    }

    fn chunk(&self, row: &str, out: &mut Vec<SentEvent>) {
        let usage = if self.tells_usage { r#","usage":null"# } else { "" };
        out.push(SentEvent::data(format!(r#"{},"choices":[{row}]{usage}}}"#, self.head)));
    }

    fn next_call(&mut self, choice: u32) -> u32 {
        match self.calls.iter_mut().find(|(of, _)| *of == choice) {
            Some((_, count)) => {
                *count += 1;
                *count - 1
            }
            None => {
                self.calls.push((choice, 1));
                0
            }
        }
    }

    fn last_call(&self, choice: u32) -> u32 {
        self.calls.iter().find(|(of, _)| *of == choice).map_or(0, |(_, count)| count.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Chunks of a stream, most of which are the same but for their text.
    fn chunks() -> impl Strategy<Value = Vec<String>> {
        let text = prop_oneof![
            4 => "[a-z ]{1,8}",
            1 => Just(String::new()),
            1 => Just("tab\t and \"quotes\"".to_owned()),
            1 => "\\PC{1,6}",
        ];
        let text = text.prop_map(|text| format!(r#"{{"content":{}}}"#, quote(&text)));
        let delta = prop_oneof![
            8 => text,
            1 => Just(r#"{"content":"both","reasoning":"thought"}"#.to_owned()),
            1 => Just(r#"{"role":"assistant","content":""}"#.to_owned()),
            1 => Just(r#"{"content":null,"refusal":"no"}"#.to_owned()),
            1 => Just(r#"{"content":"a \u0041"}"#.to_owned()),
        ];
        let rest = prop_oneof![
            8 => Just(r#","finish_reason":null}]}"#),
            1 => Just(r#","finish_reason":"stop"}]}"#),
            1 => Just(r#","finish_reason":null}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#),
            1 => Just(r#","finish_reason":null},{"index":1,"delta":{"content":"two"}}]}"#),
            1 => Just(r#"}],"error":{}}"#),
            1 => Just("}"),
        ];
        let chunk = (0_u32..2, delta, rest).prop_map(|(index, delta, rest)| {
            format!(r#"{{"id":"c","model":"m","choices":[{{"index":{index},"delta":{delta}{rest}"#)
        });
        prop::collection::vec(chunk, 1..30)
    }

    proptest! {
        /// A chunk that is not parsed says what it says to who parses each.
        #[test]
        fn what_is_known_by_its_frame_is_what_is_parsed(chunks in chunks()) {
            let (mut quick, mut thorough) = (Reader::default(), Reader::default());
            for chunk in &chunks {
                thorough.frame = Default::default();
                let (mut found, mut expected) = (Vec::new(), Vec::new());
                let read = (quick.read(chunk.as_bytes(), &mut found), thorough.read(chunk.as_bytes(), &mut expected));
                prop_assert_eq!(read.0, read.1, "{}", chunk);
                prop_assert_eq!(found, expected, "{}", chunk);
            }
        }
    }

    #[test]
    fn a_text_like_the_one_before_is_known_by_its_frame() {
        let mut reader = Reader::default();
        let chunk = |text: &str| format!(r#"{{"id":"c","choices":[{{"index":1,"delta":{{"content":"{text}"}}}}]}}"#);
        for text in ["one", "two"] {
            reader.read(chunk(text).as_bytes(), &mut Vec::new()).expect("it is one");
        }

        assert_eq!(reader.frame.0.text(chunk("three").as_bytes()), Some("three"));
        assert_eq!(reader.frame.1, 1);
    }
}
