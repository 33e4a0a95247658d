//! The `requestState` of calls that wait for their client at a server of sessions.
//!
//! What is needed to go on is in the session; the state says where: sealed, so that it can neither
//! be read nor made up, and bound to the caller, to the toolset, to the request that it belongs to (all of its
//! parameters but those that a retry changes) and to a time. Whatever does not fit is the same
//! error, because a caller that tampers learns nothing from the difference.
//! Specification: 2026-07-28 `basic/patterns/mrtr`, "Request state".

use quorate_jsonrpc::Frame;
use quorate_mcp::Fault;
use quorate_mcp::dialect::onto_legacy::{Question, RESPONSES_MAX};
use quorate_session::{CallKey, StreamId};
use quorate_types::seal::Purpose;
use quorate_types::{PrincipalDigest, ResourceName, Sealer, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::tasks::Holder;

/// The form of the sealed bytes: 2.
const FORM: u8 = 2;
/// Digest of the request, principal, expiry, form and kind.
const HEAD_BYTES: usize = 16 + 16 + 8 + 1 + 1;
/// Session, call, stream, token and shard.
const PLACE_BYTES: usize = 16 + 8 + 4 + 8 + 2;
/// The id of a question, and what it is or that it was answered.
const ASK_BYTES: usize = 8 + 1;
const ANSWERED: u8 = 0xff;

/// What a state is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parking {
    /// A call that waits.
    Call {
        /// Where.
        place: Place,
        /// What was asked, in order.
        asks: Vec<Ask>,
    },
    /// No call: it is to be made again, once the client has visited what it was asked to. It allows nothing that the
    /// same request without it does not, so that sending it twice gains nothing, and nothing has to be remembered of it.
    Again,
}

/// Where a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The shard of the session; 0 without a cluster.
    pub(crate) shard: u16,
    /// The number of the session.
    pub(crate) session: u128,
    /// The call.
    pub(crate) call: CallKey,
    /// Its stream.
    pub(crate) stream: StreamId,
    /// The name of the parking.
    pub(crate) token: u64,
}

/// A question of the server that is read again when the call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Its id in the session, and as a decimal number the key of its answer.
    pub(crate) id: u64,
    /// What was asked; none when it was answered in an earlier round.
    pub(crate) question: Option<Question>,
}

/// What a state is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// Who may use it.
    pub(crate) principal: PrincipalDigest,
    /// The digest of the request, and of the toolset that it is for.
    pub(crate) request: [u8; 16],
}

// === impl Binding ===

impl Binding {
    /// Binds to a caller and what it asks for on a toolset. On which listener does not matter: who the caller is and what
    /// it may do is the same on each that serves the toolset.
    pub(crate) fn of(Holder { caller: principal, toolset }: Holder<'_>, frame: &Frame) -> Self {
        Self { principal, request: digest(toolset, frame) }
    }

    /// Seals a state that expires at `until`.
    pub(crate) fn seal(&self, sealer: &Sealer, parking: &Parking, until: Timestamp, nonce: &[u8; 24]) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + PLACE_BYTES + 4 * ASK_BYTES);
        bytes.extend_from_slice(&self.request);
        bytes.extend_from_slice(&self.principal.0);
        bytes.extend_from_slice(&until.as_millis().to_be_bytes());
        bytes.push(FORM);
        match parking {
            Parking::Again => bytes.push(0),
            Parking::Call { place, asks } => {
                bytes.push(1);
                bytes.extend_from_slice(&place.session.to_be_bytes());
                bytes.extend_from_slice(&place.call.0.to_be_bytes());
                bytes.extend_from_slice(&place.stream.0.to_be_bytes());
                bytes.extend_from_slice(&place.token.to_be_bytes());
                bytes.extend_from_slice(&place.shard.to_be_bytes());
                for ask in asks {
                    bytes.extend_from_slice(&ask.id.to_be_bytes());
                    bytes.push(ask.question.map_or(ANSWERED, code));
                }
            }
        }
        sealer.seal(Purpose::RequestState, &bytes, nonce)
    }

    /// Opens a state that a retry brings.
    ///
    /// # Errors
    /// [`Fault::InvalidParams`]: forged, somebody else's, of another request, or expired.
    pub(crate) fn open(&self, sealer: &Sealer, text: &str, now: Timestamp) -> Result<Parking, Fault> {
        let bytes = sealer.open(Purpose::RequestState, text).map_err(|_| invalid_state())?;
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(invalid_state)?;
        let until = Timestamp::from_millis(u64::from_be_bytes(array(&head[32..40])));
        let is_bound = head[..16] == self.request && head[16..32] == self.principal.0;
        if !is_bound || until <= now || head[40] != FORM {
            return Err(invalid_state());
        }
        match head[41] {
            0 if rest.is_empty() => Ok(Parking::Again),
            1 => read_call(rest).ok_or_else(invalid_state),
            _ => Err(invalid_state()),
        }
    }
}

/// What a client is told whose `requestState` cannot be used.
pub(crate) const fn invalid_state() -> Fault {
    Fault::InvalidParams {
        field: "requestState",
        reason: "is not one that waits for this request: it was altered, used before, of another request, toolset or caller, or it has expired; call again without it",
    }
}

fn read_call(rest: &[u8]) -> Option<Parking> {
    let (place, asks) = rest.split_at_checked(PLACE_BYTES)?;
    if asks.len() % ASK_BYTES != 0 || asks.len() / ASK_BYTES > RESPONSES_MAX {
        return None;
    }
    let place = Place {
        session: u128::from_be_bytes(array(&place[..16])),
        call: CallKey(u64::from_be_bytes(array(&place[16..24]))),
        stream: StreamId(u32::from_be_bytes(array(&place[24..28]))),
        token: u64::from_be_bytes(array(&place[28..36])),
        shard: u16::from_be_bytes(array(&place[36..])),
    };
    let ask = |bytes: &[u8]| {
        let id = u64::from_be_bytes(array(&bytes[..8]));
        let question = match bytes[8] {
            ANSWERED => None,
            other => Some(Question::ALL.into_iter().find(|question| code(*question) == other)?),
        };
        Some(Ask { id, question })
    };
    let asks = asks.chunks_exact(ASK_BYTES).map(ask).collect::<Option<_>>()?;
    Some(Parking::Call { place, asks })
}

const fn code(question: Question) -> u8 {
    match question {
        Question::Form => 0,
        Question::Url => 1,
        Question::Sampling => 2,
        Question::Roots => 3,
    }
}

/// Copies a slice whose length the caller has cut.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut it to this length")
}

/// The digest of what a retry must repeat: toolset, method and parameters, whatever the order of their keys.
fn digest(toolset: &ResourceName, frame: &Frame) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(toolset.as_str());
    hash.update([0]);
    hash.update(frame.method().unwrap_or_default());
    hash.update([0]);
    let params = frame.params().and_then(|raw| serde_json::from_slice::<Value>(&raw).ok());
    if let Some(Value::Object(mut params)) = params {
        for own in ["_meta", "inputResponses", "requestState"] {
            params.remove(own);
        }
        hash_value(&mut hash, &Value::Object(params));
    }
    array(&hash.finalize()[..16])
}

/// Hashes a value so that only equal ones have the same hash; its depth is bounded by parsing.
fn hash_value(hash: &mut Sha256, value: &Value) {
    let mut text = |tag: u8, text: &str| {
        hash.update([tag]);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    match value {
        Value::Null => text(0, ""),
        Value::Bool(value) => text(1, if *value { "1" } else { "" }),
        Value::Number(number) => text(2, &number.to_string()),
        Value::String(value) => text(3, value),
        Value::Array(items) => {
            text(4, &items.len().to_string());
            items.iter().for_each(|item| hash_value(hash, item));
        }
        Value::Object(members) => {
            text(5, &members.len().to_string());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            for (key, value) in members {
                hash.update((key.len() as u64).to_be_bytes());
                hash.update(key);
                hash_value(hash, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_jsonrpc::Limits;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000);

    fn name(name: &str) -> ResourceName {
        ResourceName::new(name).expect("a valid name")
    }

    fn frame(params: &str) -> Frame {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        Frame::parse(Bytes::from(text), &Limits::REQUEST).expect("a frame")
    }

    fn parking() -> Parking {
        let place = Place { shard: 3, session: 7, call: CallKey(8), stream: StreamId(9), token: 10 };
        let asks = vec![Ask { id: 1, question: None }, Ask { id: 2, question: Some(Question::Sampling) }];
        Parking::Call { place, asks }
    }

    #[test]
    fn a_state_opens_for_its_caller_its_toolset_and_its_request_in_time() {
        let sealer = Sealer::new(&[1; 32]);
        let (toolset, elsewhere) = (name("tools"), name("others"));
        let frame = frame(r#"{"name":"a","arguments":{"x":1,"y":[1.5]}}"#);
        let holder = Holder { caller: PrincipalDigest([1; 16]), toolset: &toolset };
        let mine = Binding::of(holder, &frame);
        for parking in [parking(), Parking::Again] {
            let text = mine.seal(&sealer, &parking, LATER, &[3; 24]);
            assert_eq!(mine.open(&sealer, &text, NOW), Ok(parking));
            assert_eq!(mine.open(&sealer, &text, LATER), Err(invalid_state()), "it has expired");
            assert_eq!(mine.open(&sealer, &format!("{text}-TAMPERED"), NOW), Err(invalid_state()));
            assert_eq!(mine.open(&Sealer::new(&[2; 32]), &text, NOW), Err(invalid_state()));
            let other = Binding { principal: PrincipalDigest([2; 16]), ..mine };
            assert_eq!(other.open(&sealer, &text, NOW), Err(invalid_state()));
            let other = Binding::of(Holder { toolset: &elsewhere, ..holder }, &frame);
            assert_eq!(other.open(&sealer, &text, NOW), Err(invalid_state()), "it is of another toolset");
        }
    }

    #[test]
    fn a_retry_may_reorder_its_request_and_change_nothing_else_of_it() {
        let toolset = name("tools");
        let of = |params: &str| {
            Binding::of(Holder { caller: PrincipalDigest([1; 16]), toolset: &toolset }, &frame(params)).request
        };
        let first = of(r#"{"name":"a","arguments":{"x":1,"y":{"b":2,"a":"t"}},"_meta":{"progressToken":1}}"#);
        for same in [
            r#"{"arguments":{"y":{"a":"t","b":2},"x":1},"name":"a"}"#,
            r#"{"name":"\u0061","arguments":{"x":1,"y":{"b":2,"a":"t"}},"inputResponses":{"1":{}},"requestState":"s"}"#,
        ] {
            assert_eq!(of(same), first, "{same}");
        }
        for other in [
            r#"{"name":"b","arguments":{"x":1,"y":{"b":2,"a":"t"}}}"#,
            r#"{"name":"a","arguments":{"x":2,"y":{"b":2,"a":"t"}}}"#,
            r#"{"name":"a","arguments":{"x":1,"y":{"b":2}}}"#,
            r#"{"name":"a"}"#,
        ] {
            assert_ne!(of(other), first, "{other}");
        }
    }
}
