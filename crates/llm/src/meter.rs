//! What a call of a model cost and how it ended, in the terms of metrics.
//!
//! In: the request, each piece of the answer that goes back, and how the exchange ended. Out: byte counts, tokens as the provider tells
//! them, and one bounded outcome label. Times are the gateway's, which has a clock.

use crate::answer::{Stop, Usage};
use crate::api::Api;
use crate::dialect::no_answer;
use crate::error::{Fault, Kind};
use crate::exchange::State;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With an answer that the model ended itself.
    Ok,
    /// With one that was cut at its most tokens.
    Length,
    /// With one that was filtered.
    Filtered,
    /// With a fault of this kind.
    Fault(Kind),
    /// Its client went away.
    Abandoned,
}

/// The counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body, of the data of its events where it is streamed.
    pub answer_bytes: u64,
    /// Events that went back.
    pub events: u64,
    /// Tokens, where the provider tells them.
    pub usage: Option<Usage>,
}

// === impl Meter ===

impl Meter {
    /// Starts with a request.
    #[must_use]
    pub fn new(request: &[u8]) -> Self {
        Self { request_bytes: request.len() as u64, ..Self::default() }
    }

    /// Counts an event that goes back, or a whole answer.
    pub const fn count(&mut self, data: &[u8]) {
        self.answer_bytes += data.len() as u64;
        self.events += 1;
    }
}

// === impl Outcome ===

impl Outcome {
    /// How an exchange ended, and why its answer did. One that goes on was abandoned.
    #[must_use]
    pub const fn of(state: &State, stop: Option<&Stop>) -> Self {
        match (state, stop) {
            (State::Open | State::Begun, _) => Self::Abandoned,
            (State::Failed(fault), _) => Self::Fault(fault.kind),
            (State::Done, Some(Stop::Length)) => Self::Length,
            (State::Done, Some(Stop::Filtered)) => Self::Filtered,
            (State::Done, Some(Stop::End | Stop::Text(_) | Stop::ToolCalls | Stop::Paused) | None) => Self::Ok,
        }
    }

    /// Whether there was an answer, whole as far as the model made it.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::Length | Self::Filtered)
    }

    /// The name under which metrics count it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Length => "length",
            Self::Filtered => "filtered",
            Self::Fault(kind) => kind.label(),
            Self::Abandoned => "abandoned",
        }
    }
}

/// What a whole answer cost that is none of a conversation.
///
/// # Errors
/// [`Kind::Provider`] for what is no answer of the API.
pub fn usage_of(api: Api, body: &[u8]) -> Result<Option<Usage>, Fault> {
    let answer: serde_json::Map<String, serde_json::Value> = if api == Api::Embeddings {
        // Numbers without end, which nobody here reads.
        let text = std::str::from_utf8(body).map_err(|_| no_answer())?;
        let [data, usage] = quorate_jsonrpc::pick(text, 0, ["data", "usage"]).map_err(|_| no_answer())?;
        data.ok_or_else(no_answer)?;
        let Some(usage) = usage else { return Ok(None) };
        serde_json::from_str(usage.of(text)).map_err(|_| no_answer())?
    } else {
        serde_json::from_slice(body).map_err(|_| no_answer())?
    };
    let tokens = answer.get("prompt_tokens").or_else(|| answer.get("input_tokens")).and_then(serde_json::Value::as_u64);
    if api == Api::CountTokens {
        // To count is free.
        return tokens.map(|_| None).ok_or_else(no_answer);
    }
    Ok(tokens.map(|input| Usage { input, ..Usage::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_name() {
        let failed = State::Failed(Fault::new(Kind::Timeout, "late"));
        let cases = [
            (Outcome::of(&State::Done, Some(&Stop::ToolCalls)), "ok"),
            (Outcome::of(&State::Done, Some(&Stop::Length)), "length"),
            (Outcome::of(&State::Done, Some(&Stop::Filtered)), "filtered"),
            (Outcome::of(&failed, Some(&Stop::End)), "timeout"),
            (Outcome::of(&State::Begun, None), "abandoned"),
        ];
        for (outcome, label) in cases {
            assert_eq!(outcome.label(), label);
        }
    }

    #[test]
    fn what_goes_back_is_counted() {
        let mut meter = Meter::new(b"{}");
        meter.count(b"abc");
        meter.count(b"[DONE]");

        assert_eq!((meter.request_bytes, meter.answer_bytes, meter.events), (2, 9, 2));
    }

    #[test]
    fn what_is_no_conversation_is_read_for_what_it_cost() {
        let embeddings =
            br#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#;
        let usage = usage_of(Api::Embeddings, embeddings).expect("it is one");
        assert_eq!(usage.map(|usage| usage.input), Some(7));
        assert_eq!(usage_of(Api::Embeddings, br#"{"data":[]}"#), Ok(None));
        assert_eq!(usage_of(Api::CountTokens, br#"{"input_tokens":7}"#), Ok(None));
        for (api, body) in [
            (Api::Embeddings, &b"<html>"[..]),
            (Api::Embeddings, br#"{"error":{}}"#),
            (Api::Embeddings, b"{\"data\":[\xff]}"),
            (Api::CountTokens, br#"{"tokens":7}"#),
        ] {
            assert_eq!(usage_of(api, body).expect_err("it is none").kind, Kind::Provider, "{body:?}");
        }
    }
}
