//! How a model of messages is told to think.
//!
//! Thinking within a budget needs room below `max_tokens` and thoughts that are signed, and no thinking goes with a tool that must be
//! called; where one of these is not so, the model answers without, and the client is told.

use serde::Serialize;

use super::takes::Takes;
use crate::api::Dialect;
use crate::loss::{Feature, Losses};
use crate::message::{Content, Effort, Part, Reasoning, Request, Role, ToolChoice, Turn};

/// Fewest tokens of thinking that the API takes.
const THINKING_TOKENS_MIN: u64 = 1_024;

/// `thinking`.
#[derive(Serialize)]
pub(super) struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
    /// What is thought is not told by the newest models unless it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'static str>,
}

// === impl Thinking ===

impl Thinking {
    /// Whether it asks for thoughts.
    pub(super) fn thinks(&self) -> bool {
        self.r#type != "disabled"
    }

    const fn adaptive(takes: Takes) -> Self {
        let display = if matches!(takes, Takes::EffortsAlone) { Some("summarized") } else { None };
        Self { r#type: "adaptive", budget_tokens: None, display }
    }
}

/// Says how much a model thinks, and with which effort.
pub(super) fn thinking(
    request: &Request,
    takes: Takes,
    max_tokens: u64,
    losses: &mut Losses,
) -> (Option<Thinking>, Option<&'static str>) {
    let Some(reasoning) = request.reasoning else { return (None, None) };
    let is_forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
    if is_forced && reasoning != Reasoning::Off {
        losses.add(Feature::Reasoning);
        return (None, None);
    }
    let disabled = Thinking { r#type: "disabled", budget_tokens: None, display: None };
    match reasoning {
        // Most of them think in any case: as little as they can.
        Reasoning::Off if takes == Takes::EffortsAlone => {
            losses.add(Feature::Reasoning);
            (None, Some(word(Effort::Minimal)))
        }
        Reasoning::Off => (Some(disabled), None),
        Reasoning::Auto => (Some(Thinking::adaptive(takes)), None),
        Reasoning::Effort(effort) if takes.efforts() => (Some(Thinking::adaptive(takes)), Some(word(effort))),
        Reasoning::Tokens(tokens) if takes.efforts() => {
            (Some(Thinking::adaptive(takes)), Some(word(Effort::of_tokens(tokens))))
        }
        // The least word is hardly any: less than what the API calls thinking.
        Reasoning::Effort(Effort::Minimal) => (None, None),
        Reasoning::Effort(effort) => (within(effort.tokens(), request, max_tokens, losses), None),
        Reasoning::Tokens(tokens) => (within(tokens, request, max_tokens, losses), None),
    }
}

const fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Most => "max",
    }
}

fn within(budget: u64, request: &Request, max_tokens: u64, losses: &mut Losses) -> Option<Thinking> {
    let budget = budget.min(max_tokens.saturating_sub(1));
    if budget < THINKING_TOKENS_MIN || has_unsigned_call(&request.turns) {
        losses.add(Feature::Reasoning);
        return None;
    }
    Some(Thinking { r#type: "enabled", budget_tokens: Some(budget), display: None })
}

/// Whether the model waits for results of calls before which it thought nothing that is signed: the API lets it not begin now.
fn has_unsigned_call(turns: &[Turn]) -> bool {
    let Some(last) = turns.iter().rfind(|turn| turn.role == Role::Assistant) else { return false };
    let calls = last.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let is_signed = |part: &Part| match &part.content {
        Content::Thought { signature, .. } => {
            signature.as_ref().is_some_and(|signature| signature.of(Dialect::Messages).is_some())
        }
        Content::SealedThought(data) => data.of(Dialect::Messages).is_some(),
        Content::Text(_)
        | Content::Image { .. }
        | Content::Document { .. }
        | Content::Audio { .. }
        | Content::Refusal(_)
        | Content::ToolCall(_)
        | Content::ToolResult { .. } => false,
    };
    calls && !last.parts.first().is_some_and(is_signed)
}
