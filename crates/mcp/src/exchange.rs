//! One upstream call's frames: what may come in which order, and with whose id it goes on.
//!
//! In: the frames that a backend sends for one call, as they come. Out: what to do with each. The
//! machine has two states: open until the answer, then done.
//!
//! ```text
//!          notification ─▶ Forward      request (legacy) ─▶ Request
//!   Open ──────────────────────────────────────────────────────────┐
//!    │  ▲──────────────────────────────────────────────────────────┘
//!    └─ answer with our id ─▶ Final, with the client's id ─▶ Done ── anything ─▶ Violation
//! ```
//!
//! Invariant: exactly one `Final`, last. It does not know transports, sessions or tokens.

use quorate_jsonrpc::{Frame, Id, Kind};

use crate::version::{Era, Version};

/// One call towards a backend.
#[derive(Clone, Debug)]
pub struct Exchange {
    client_id: Id,
    upstream_id: Id,
    version: Version,
    state: State,
}

/// What to do with a backend's frame.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A notification of this call: pass it on.
    Forward(Frame),
    /// A request of the backend to the client (legacy): it needs an id of its own downstream.
    Request(Frame),
    /// The answer, with the client's id. The call is over.
    Final(Frame),
}

/// A backend broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An answer to another request.
    #[error("the backend answered request {found} instead of {expected}")]
    WrongId {
        /// The id that we sent.
        expected: Id,
        /// The id that came back.
        found: Id,
    },
    /// A frame after the answer.
    #[error("the backend sent a frame after its answer")]
    AfterFinal,
    /// A request to the client, which 2026-07-28 excludes.
    #[error("the backend sent a request, which {version} does not allow")]
    Request {
        /// The revision.
        version: Version,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

// === impl Exchange ===

impl Exchange {
    /// Opens a call that the client knows as `client_id` and the backend as `upstream_id`.
    #[must_use]
    pub const fn new(client_id: Id, upstream_id: Id, version: Version) -> Self {
        Self { client_id, upstream_id, version, state: State::Open }
    }

    /// Takes the next frame from the backend.
    ///
    /// # Errors
    /// [`Violation`] leaves the state as it was.
    pub fn step(&mut self, frame: Frame) -> Result<Outcome, Violation> {
        if self.state == State::Done {
            return Err(Violation::AfterFinal);
        }
        match frame.kind() {
            Kind::Notification => Ok(Outcome::Forward(frame)),
            Kind::Request => match self.version.era() {
                Era::Legacy => Ok(Outcome::Request(frame)),
                Era::Modern => Err(Violation::Request { version: self.version }),
            },
            Kind::Result | Kind::Error => self.finish(&frame),
        }
    }

    /// Tells whether the answer has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns the id under which the backend knows the call.
    #[must_use]
    pub const fn upstream_id(&self) -> &Id {
        &self.upstream_id
    }

    /// Returns the id under which the client knows the call.
    #[must_use]
    pub const fn client_id(&self) -> &Id {
        &self.client_id
    }

    /// Takes the answer. An error without an id is one too: the backend could not read ours, and
    /// the call's own response can be about nothing else.
    fn finish(&mut self, frame: &Frame) -> Result<Outcome, Violation> {
        match frame.id() {
            Some(found) if *found != self.upstream_id => {
                Err(Violation::WrongId { expected: self.upstream_id.clone(), found: found.clone() })
            }
            Some(_) | None => {
                self.state = State::Done;
                Ok(Outcome::Final(frame.with_id(&self.client_id)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#;
    const ELICIT: &str = r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}"#;
    const ANSWER: &str = r#"{"jsonrpc":"2.0","id":5,"result":{"x":1.0}}"#;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::ANSWER).expect("a frame")
    }

    fn exchange(version: Version) -> Exchange {
        Exchange::new(Id::from_text("client").expect("short"), Id::from(5), version)
    }

    #[test]
    fn a_call_ends_with_its_answer_under_the_clients_id() {
        let mut exchange = exchange(Version::V2025_11_25);

        assert!(matches!(exchange.step(frame(PROGRESS)), Ok(Outcome::Forward(_))));
        assert!(matches!(exchange.step(frame(ELICIT)), Ok(Outcome::Request(_))));
        assert!(!exchange.is_done());
        let Ok(Outcome::Final(answer)) = exchange.step(frame(ANSWER)) else { panic!("the answer is final") };

        assert_eq!(answer.bytes(), r#"{"jsonrpc":"2.0","id":"client","result":{"x":1.0}}"#);
        assert!(exchange.is_done());
        for late in [PROGRESS, ELICIT, ANSWER] {
            assert_eq!(exchange.step(frame(late)).map(|_| ()), Err(Violation::AfterFinal));
        }
    }

    #[test]
    fn an_error_is_an_answer_also_without_an_id() {
        let cases = [
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":1,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}"#,
        ];
        for text in cases {
            let mut exchange = exchange(Version::V2026_07_28);
            let Ok(Outcome::Final(answer)) = exchange.step(frame(text)) else { panic!("{text}") };
            assert_eq!(answer.id(), Some(exchange.client_id()), "{text}");
        }
    }

    #[test]
    fn violations_leave_the_call_open() {
        let mut exchange = exchange(Version::V2026_07_28);
        for other in ["6", "\"5\"", "\"client\""] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{other},"result":{{}}}}"#);
            let found = Id::from_json(other).expect("an id");
            let violation = exchange.step(frame(&text)).map(|_| ()).expect_err("a wrong id");
            assert_eq!(violation, Violation::WrongId { expected: Id::from(5), found });
        }
        let violation = exchange.step(frame(ELICIT)).map(|_| ()).expect_err("no requests in the modern era");
        assert_eq!(violation, Violation::Request { version: Version::V2026_07_28 });
        assert!(!exchange.is_done());
        assert!(matches!(exchange.step(frame(ANSWER)), Ok(Outcome::Final(_))));
    }
}
