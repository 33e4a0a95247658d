//! Whole answers of `generateContent`.
//!
//! In: a provider's body, or an answer of the view. Out: the other. A prompt that is blocked has no candidate, and is an answer that was
//! filtered. Calls that have no ids get some, by their number in the answer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{PartRow, UsageRow, broken, finish_of, is_broken, stop_of, usage_json};
use crate::answer::{Answer, Choice, Stop};
use crate::api::Dialect;
use crate::dialect::{Mint, arguments_object, parse_answer};
use crate::error::{Fault, Kind};
use crate::message::{Content, Part, Signature};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    #[serde(default)]
    pub(super) candidates: Vec<Candidate>,
    pub(super) prompt_feedback: Option<Feedback>,
    pub(super) usage_metadata: Option<UsageRow>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) content: Option<Said>,
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) index: u32,
}

#[derive(Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) parts: Vec<PartRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback {
    pub(super) block_reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    candidates: Vec<WrittenCandidate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Box<RawValue>>,
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCandidate<'a> {
    content: WrittenContent<'a>,
    finish_reason: &'static str,
    index: usize,
}

#[derive(Serialize)]
struct WrittenContent<'a> {
    role: &'static str,
    parts: Vec<WrittenPart<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<WrittenCall<'a>>,
}

#[derive(Serialize)]
struct WrittenCall<'a> {
    id: &'a str,
    name: &'a str,
    args: &'a RawValue,
}

/// Reads a provider's answer.
///
/// # Errors
/// [`Kind::Provider`] for what is none, and for one that the provider calls broken.
pub fn read_answer(body: &[u8]) -> Result<Answer, Fault> {
    let read: Body = parse_answer(body)?;
    let id = read.response_id.unwrap_or_default();
    if read.candidates.iter().any(|candidate| candidate.finish_reason.as_deref().is_some_and(is_broken)) {
        return Err(broken());
    }
    let mut choices: Vec<Choice> = read.candidates.into_iter().map(|candidate| choice(candidate, &id)).collect();
    if choices.is_empty() {
        if read.prompt_feedback.and_then(|feedback| feedback.block_reason).is_none() {
            return Err(Fault::new(Kind::Provider, "the provider's answer has no candidate"));
        }
        choices.push(Choice { parts: Vec::new(), stop: Stop::Filtered });
    }
    Ok(Answer {
        id,
        model: read.model_version.unwrap_or_default(),
        created_s: None,
        choices,
        usage: read.usage_metadata.map(UsageRow::usage),
    })
}

fn choice(candidate: Candidate, answer: &str) -> Choice {
    let (mut parts, mut calls) = (Vec::<Part>::new(), 0);
    for row in candidate.content.map(|said| said.parts).unwrap_or_default() {
        let Some(part) = row.content(answer, calls) else { continue };
        calls += usize::from(matches!(part.content, Content::ToolCall(_)));
        match (parts.last_mut().map(|last| &mut last.content), &part.content) {
            // It cuts a text where it likes.
            (Some(Content::Text(said)), Content::Text(text)) => said.push_str(text),
            _ => parts.push(part),
        }
    }
    let stop = stop_of(candidate.finish_reason.as_deref().unwrap_or("STOP"), calls > 0);
    Choice { parts, stop }
}

/// Writes an answer for a client.
///
/// # Errors
/// [`Kind::Provider`] where a complete call has arguments that are no object: a client of this shape cannot be given any other.
pub fn write_answer(answer: &Answer, mint: &Mint<'_>) -> Result<Vec<u8>, Fault> {
    let mut candidates = Vec::with_capacity(answer.choices.len());
    for (index, choice) in answer.choices.iter().enumerate() {
        let parts = choice.complete_parts().iter();
        let parts = parts.filter_map(|part| written(part).transpose()).collect::<Result<_, _>>()?;
        let content = WrittenContent { role: "model", parts };
        candidates.push(WrittenCandidate { content, finish_reason: finish_of(&choice.stop), index });
    }
    let usage = answer.usage.as_ref().map(usage_json);
    let written = Written {
        candidates,
        usage_metadata: usage.map(|usage| RawValue::from_string(usage).expect("it is JSON")),
        model_version: &answer.model,
        response_id: mint.id_of(&answer.id),
    };
    Ok(serde_json::to_vec(&written).expect("it has text keys and no failing value"))
}

pub(super) fn written(part: &Part) -> Result<Option<WrittenPart<'_>>, Fault> {
    let shown = |signature: &Signature| signature.shown(Dialect::Generate).into_owned();
    let row = WrittenPart::default();
    Ok(Some(match &part.content {
        Content::Text(text) | Content::Refusal(text) => WrittenPart { text: Some(text), ..row },
        Content::Thought { text, signature } => {
            WrittenPart { text: Some(text), thought: true, thought_signature: signature.as_ref().map(shown), ..row }
        }
        Content::SealedThought(data) => {
            WrittenPart { text: Some(""), thought: true, thought_signature: Some(shown(data)), ..row }
        }
        Content::ToolCall(call) => {
            let args = arguments_object(call)
                .map_err(|_| Fault::new(Kind::Provider, "the model called a tool with arguments that are no object"))?;
            let function_call = Some(WrittenCall { id: &call.id, name: &call.name, args });
            WrittenPart { function_call, thought_signature: call.signature.as_ref().map(shown), ..row }
        }
        Content::Image { .. } | Content::Document { .. } | Content::Audio { .. } | Content::ToolResult { .. } => {
            return Ok(None);
        }
    }))
}
