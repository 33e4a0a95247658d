//! Answers of `generateContent` in pieces: each event is a whole answer with what is new.
//!
//! The last one says why the model stops and what it cost; there is no other end. A call comes in one piece, so that a writer keeps
//! its arguments until they are complete.

use quorate_jsonrpc::quote;

use super::answer::{Body, written};
use super::{PartRow, UsageRow, broken, finish_of, is_broken, stop_of, usage_json};
use crate::answer::{CHOICES_MAX, Choice, Delta, Stop, Usage};
use crate::api::{Dialect, Family};
use crate::dialect::{Mint, SentEvent, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::{Content, Part, Signature, ToolCall};

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    /// The provider's id of the answer.
    id: String,
    calls: usize,
    /// Answers that have called a tool.
    called: Vec<u32>,
    /// Answers that have begun, and whether they are over.
    choices: Vec<(u32, bool)>,
    usage: Option<Usage>,
    is_done: bool,
}

// === impl Reader ===

impl Reader {
    /// Reads the data of one event.
    ///
    /// # Errors
    /// [`Kind::Provider`] for what is no answer.
    pub fn read(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), Fault> {
        if self.is_done {
            return Ok(());
        }
        if is_error(data) {
            self.is_done = true;
            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
            out.push(Delta::Failed(Fault::of_provider(status, data, None)));
            return Ok(());
        }
        let body: Body = parse_answer(data)?;
        if !self.has_begun {
            self.has_begun = true;
            let (id, model) = (body.response_id.unwrap_or_default(), body.model_version.unwrap_or_default());
            self.id.clone_from(&id);
            out.push(Delta::Begin { id, model, created_s: None });
        }
        if body.candidates.is_empty() && body.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.choices.push((0, true));
            out.push(Delta::Stop { choice: 0, stop: Stop::Filtered });
        }
        for candidate in body.candidates {
            let choice = candidate.index;
            if !self.choices.iter().any(|(known, _)| *known == choice) {
                if self.choices.len() >= CHOICES_MAX {
                    return Err(Fault::new(Kind::Provider, "the provider gives too many answers"));
                }
                self.choices.push((choice, false));
            }
            for row in candidate.content.map(|said| said.parts).unwrap_or_default() {
                self.read_part(choice, row, out);
            }
            if let Some(finish) = candidate.finish_reason {
                if is_broken(&finish) {
                    self.is_done = true;
                    out.push(Delta::Failed(broken()));
                    return Ok(());
                }
                self.choices.iter_mut().filter(|(of, _)| *of == choice).for_each(|(_, is_over)| *is_over = true);
                out.push(Delta::Stop { choice, stop: stop_of(&finish, self.called.contains(&choice)) });
            }
        }
        if let Some(usage) = body.usage_metadata.map(UsageRow::usage) {
            self.usage.get_or_insert_default().update(&usage);
        }
        Ok(())
    }

    /// Reads the end of the stream, which is good where it was said why the model stops.
    pub fn end(&mut self, out: &mut Vec<Delta>) {
        if !self.is_done && !self.choices.is_empty() && self.choices.iter().all(|(_, is_over)| *is_over) {
            out.extend(self.usage.map(Delta::Usage));
            out.push(Delta::End);
        }
        self.is_done = true;
    }

    fn read_part(&mut self, choice: u32, row: PartRow, out: &mut Vec<Delta>) {
        let Some(part) = row.content(&self.id, self.calls) else { return };
        match part.content {
            Content::Text(text) => out.push(Delta::Text { choice, text }),
            Content::Thought { text, signature } => {
                if !text.is_empty() {
                    out.push(Delta::Thought { choice, text });
                }
                out.extend(signature.map(|signature| Delta::Signature { choice, signature }));
            }
            Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
                self.calls += 1;
                self.called.push(choice);
                out.push(Delta::ToolBegin { choice, id, name, signature });
                out.push(Delta::Arguments { choice, text: arguments });
            }
            // No other shape has an answer of these.
            Content::Image { .. }
            | Content::Document { .. }
            | Content::Audio { .. }
            | Content::SealedThought(_)
            | Content::Refusal(_)
            | Content::ToolResult { .. } => {}
        }
    }
}

fn is_error(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).unwrap_or_default();
    matches!(quorate_jsonrpc::pick(text, 0, ["error"]), Ok([Some(_)]))
}

/// Writes a stream for a client.
#[derive(Debug, Default)]
pub struct Writer {
    /// `"modelVersion":…,"responseId":…}`, which every event ends with.
    tail: String,
    /// The calls whose arguments are not complete, one of each answer at most.
    calls: Vec<(u32, ToolCall)>,
    stops: Vec<(u32, Stop)>,
    usage: Option<Usage>,
}

// === impl Writer ===

impl Writer {
    /// Writes the events that say a piece.
    ///
    /// # Errors
    /// [`Kind::Provider`] where a complete call has arguments that are no object.
    pub fn write(&mut self, delta: &Delta, mint: &Mint<'_>, out: &mut Vec<SentEvent>) -> Result<(), Fault> {
        match delta {
            Delta::Text { choice, .. }
            | Delta::Refusal { choice, .. }
            | Delta::Thought { choice, .. }
            | Delta::Signature { choice, .. }
            | Delta::SealedThought { choice, .. }
            | Delta::ToolBegin { choice, .. } => self.close_call(*choice, &Stop::ToolCalls, out)?,
            Delta::Stop { choice, stop } => self.close_call(*choice, stop, out)?,
            Delta::Begin { .. } | Delta::Arguments { .. } | Delta::Usage(_) | Delta::Failed(_) | Delta::End => {}
        }
        match delta {
            Delta::Begin { id, model, .. } => {
                let (id, model) = (quote(mint.id_of(id)), quote(model));
                self.tail = format!(r#""modelVersion":{model},"responseId":{id}}}"#);
            }
            Delta::Text { choice, text } | Delta::Refusal { choice, text } => {
                self.parts(*choice, &format!(r#"{{"text":{}}}"#, quote(text)), out);
            }
            Delta::Thought { choice, text } => {
                self.parts(*choice, &format!(r#"{{"text":{},"thought":true}}"#, quote(text)), out);
            }
            Delta::Signature { choice, signature } | Delta::SealedThought { choice, data: signature } => {
                let signature = quote(&shown(signature));
                let part = format!(r#"{{"text":"","thought":true,"thoughtSignature":{signature}}}"#);
                self.parts(*choice, &part, out);
            }
            Delta::ToolBegin { choice, id, name, signature } => {
                let (id, name, signature) = (id.clone(), name.clone(), signature.clone());
                self.calls.push((*choice, ToolCall { id, name, arguments: String::new(), signature }));
            }
            Delta::Arguments { choice, text } => {
                if let Some((_, call)) = self.calls.iter_mut().find(|(of, _)| of == choice) {
                    call.arguments.push_str(text);
                }
            }
            Delta::Stop { choice, stop } => self.stops.push((*choice, stop.clone())),
            Delta::Usage(usage) => self.usage = Some(*usage),
            Delta::Failed(fault) => out.push(SentEvent::data(fault.body(Family::Gemini))),
            Delta::End => self.end(out),
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<SentEvent>) {
        let candidate = |(choice, stop): &(u32, Stop)| {
            let finish = finish_of(stop);
            format!(r#"{{"content":{{"role":"model","parts":[]}},"finishReason":"{finish}","index":{choice}}}"#)
        };
        let candidates: Vec<String> = self.stops.iter().map(candidate).collect();
        let usage = usage_json(&self.usage.unwrap_or_default());
        let candidates = candidates.join(",");
        out.push(SentEvent::data(format!(r#"{{"candidates":[{candidates}],"usageMetadata":{usage},{}"#, self.tail)));
    }

    /// Says the call whose arguments came last, for which there are no more because of `stop`.
    fn close_call(&mut self, choice: u32, stop: &Stop, out: &mut Vec<SentEvent>) -> Result<(), Fault> {
        let Some(at) = self.calls.iter().position(|(of, _)| *of == choice) else { return Ok(()) };
        let (_, call) = self.calls.remove(at);
        let said = Choice { parts: vec![Part::from(Content::ToolCall(call))], stop: stop.clone() };
        let Some(part) = said.complete_parts().first() else { return Ok(()) };
        let row = written(part)?.ok_or_else(|| Fault::new(Kind::Internal, "a call is a part"))?;
        self.parts(choice, &serde_json::to_string(&row).expect("it has text keys"), out);
        Ok(())
    }

    fn parts(&self, choice: u32, part: &str, out: &mut Vec<SentEvent>) {
        out.push(SentEvent::data(format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{part}]}},"index":{choice}}}],{}"#,
            self.tail
        )));
    }
}

fn shown(signature: &Signature) -> String {
    signature.shown(Dialect::Generate).into_owned()
}
