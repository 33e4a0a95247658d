//! What a call cost and how it ended, in the terms of metrics.
//!
//! In: the request, and each frame that goes back. Out: byte counts and one bounded outcome label.
//! Money and tokens do not exist for MCP; a tool's own error counts apart from a failed call,
//! because it is an answer that the model reads.

use quorate_jsonrpc::{Frame, Kind};

use crate::codec::{ErrorView, ResultType, ResultView};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// With a result.
    Ok,
    /// With a result that is a tool's error (`isError`).
    ToolError,
    /// With a question to the client, who retries.
    InputRequired,
    /// It goes on as a task.
    Task,
    /// With a JSON-RPC error of this code.
    Error(i64),
    /// With a frame that has not the shape of an answer.
    Malformed,
}

/// The counts of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of all frames that went back.
    pub answer_bytes: u64,
    /// Frames that went back.
    pub frames: u64,
    /// How it ended, once it has.
    pub outcome: Option<CallOutcome>,
}

// === impl Meter ===

impl Meter {
    /// Starts with the request.
    #[must_use]
    pub fn new(request: &Frame) -> Self {
        Self { request_bytes: request.bytes().len() as u64, ..Self::default() }
    }

    /// Counts a frame that goes back; an answer decides the outcome.
    pub fn count(&mut self, frame: &Frame) {
        self.answer_bytes += frame.bytes().len() as u64;
        self.frames += 1;
        if let Some(outcome) = CallOutcome::of(frame) {
            self.outcome = Some(outcome);
        }
    }
}

// === impl CallOutcome ===

impl CallOutcome {
    /// Reads the outcome from an answer; other frames have none.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        match frame.kind() {
            Kind::Request | Kind::Notification => None,
            Kind::Error => Some(ErrorView::read(frame).map_or(Self::Malformed, |error| Self::Error(error.code))),
            Kind::Result => Some(ResultView::read(frame).map_or(Self::Malformed, |view| Self::of_result(&view))),
        }
    }

    /// Returns the label of metrics. Codes are not labels: a backend could make up any number.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::InputRequired => "input_required",
            Self::Task => "task",
            Self::Error(_) => "error",
            Self::Malformed => "malformed",
        }
    }

    const fn of_result(view: &ResultView) -> Self {
        match (&view.result_type, view.is_error) {
            (ResultType::InputRequired, _) => Self::InputRequired,
            (ResultType::Task, _) => Self::Task,
            (ResultType::Complete | ResultType::Other(_), true) => Self::ToolError,
            (ResultType::Complete | ResultType::Other(_), false) => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    fn frame(text: &'static str) -> Frame {
        Frame::parse(Bytes::from_static(text.as_bytes()), &Limits::ANSWER).expect("a frame")
    }

    #[test]
    fn the_outcome_is_read_from_the_answer() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#, Some(CallOutcome::Ok)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#, Some(CallOutcome::ToolError)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#, Some(CallOutcome::InputRequired)),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"a"}}"#, Some(CallOutcome::Task)),
            (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#, Some(CallOutcome::Malformed)),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#, Some(CallOutcome::Error(-32602))),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}"#, Some(CallOutcome::Malformed)),
            (r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#, None),
        ];
        for (text, expected) in cases {
            assert_eq!(CallOutcome::of(&frame(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_meter_counts_bytes_and_frames() {
        let request = frame(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let progress = frame(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
        let answer = frame(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);

        let mut meter = Meter::new(&request);
        meter.count(&progress);
        meter.count(&answer);

        let answer_bytes = (progress.bytes().len() + answer.bytes().len()) as u64;
        let request_bytes = request.bytes().len() as u64;
        assert_eq!(meter, Meter { request_bytes, answer_bytes, frames: 2, outcome: Some(CallOutcome::Ok) });
    }
}
