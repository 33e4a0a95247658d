//! One round: what a server asks the client for, and the input that a retry brings back.
//!
//! In: an `input_required` result, then the client's responses. Out: requests of a session, then
//! the raw members of the retry's parameters: each result under the key that the server gave its
//! request, and the server's state byte for byte. Nothing is asked that the client did not declare.

use std::fmt::Write as _;

use quorate_jsonrpc::{Frame, Id, Span, Splice, build, members, pick_exact, quote, text};

use super::{Error, Limits, Mint, RESPONSES, STATE, parse};
use crate::codec::ErrorView;
use crate::dialect::onto_legacy::Question;
use crate::dialect::onto_modern::capabilities::Caller;
use crate::error::{INTERNAL_ERROR, INVALID_PARAMS};
use crate::method::Method;
use crate::read::echo;

/// What a server waits for.
#[derive(Debug)]
pub(super) struct Round {
    asks: Vec<Ask>,
    /// The raw JSON string.
    state: Option<String>,
    bytes_left: usize,
    bytes_max: usize,
}

/// One request to the client.
#[derive(Debug)]
struct Ask {
    id: u64,
    /// What the server calls it.
    key: String,
    method: Method,
    /// The id under which the client knows an elicitation by URL.
    elicitation: Option<String>,
    /// The raw result.
    response: Option<String>,
}

// === impl Round ===

impl Round {
    /// Reads an `input_required` result of a request of `method`; returns the requests to the client.
    /// Within `limits`, some bytes are `kept` already.
    pub(super) fn read(
        answer: &Frame,
        method: Method,
        caller: &Caller,
        (limits, kept): (&Limits, usize),
        mint: Mint<'_>,
    ) -> Result<(Self, Vec<Frame>), Error> {
        let result = answer.result_span().ok_or(Error::Malformed)?;
        let keys = ["inputRequests", STATE];
        let found = pick_exact(answer.text_of(result), result.start, keys).map_err(|_| Error::Malformed)?;
        let [requests, state] = found.map(|span| span.filter(|span| answer.text_of(*span) != "null"));
        if requests.is_none() && state.is_none() {
            return Err(Error::NoInput { method });
        }
        let state = state.map(|span| answer.text_of(span));
        if state.is_some_and(|raw| text(raw).is_none()) {
            return Err(Error::Malformed);
        }
        // A copy of its own: a slice would keep the whole answer.
        let mut round = Self {
            asks: Vec::new(),
            state: None,
            bytes_left: limits.input_bytes_max.saturating_sub(kept),
            bytes_max: limits.input_bytes_max,
        };
        round.state = state.map(|raw| round.keep(raw)).transpose()?;
        let mut frames = Vec::new();
        for (key, span) in requests.map_or(Ok(Vec::new()), |span| requested(answer, span, limits.requests_max))? {
            round.charge(&key)?;
            let (ask, frame) = Ask::read(answer, key, span, caller, mint())?;
            round.charge(ask.elicitation.as_deref().unwrap_or_default())?;
            round.asks.push(ask);
            frames.push(frame);
        }
        Ok((round, frames))
    }

    /// Returns the requests that have no response.
    pub(super) fn open(&self) -> impl Iterator<Item = (u64, Method)> {
        self.asks.iter().filter(|ask| ask.response.is_none()).map(|ask| (ask.id, ask.method))
    }

    /// Takes a response of the client; one that is not waited for changes nothing.
    pub(super) fn respond(&mut self, response: &Frame) -> Result<(), Error> {
        let id = response.id().and_then(Id::as_u64);
        let waiting = self.asks.iter().position(|ask| Some(ask.id) == id && ask.response.is_none());
        let Some(index) = waiting else { return Ok(()) };
        let result = given(self.asks[index].method, response)?;
        self.asks[index].response = Some(self.keep(result)?);
        Ok(())
    }

    /// Returns the elicitations by URL to which the user agreed.
    pub(super) fn agreed(&self) -> impl Iterator<Item = &str> {
        self.asks.iter().filter(|ask| ask.is_accepted()).filter_map(|ask| ask.elicitation.as_deref())
    }

    /// Writes the members by which a retry answers this round; responses that are missing are left
    /// out, for the server to ask again.
    pub(super) fn input(&self) -> String {
        let mut out = String::new();
        let given = self.asks.iter().filter_map(|ask| Some((&ask.key, ask.response.as_deref()?)));
        for (index, (key, response)) in given.enumerate() {
            let before = if index == 0 { format!("\"{RESPONSES}\":{{") } else { ",".to_owned() };
            // Writing to a String cannot fail.
            let _ = write!(out, "{before}{}:{response}", quote(key));
        }
        if !out.is_empty() {
            out.push('}');
        }
        if let Some(state) = &self.state {
            let comma = if out.is_empty() { "" } else { "," };
            // As above.
            let _ = write!(out, "{comma}\"{STATE}\":{state}");
        }
        out
    }

    /// Copies what has to be kept for the retry, within the bound.
    fn keep(&mut self, raw: &str) -> Result<String, Error> {
        self.charge(raw)?;
        Ok(raw.to_owned())
    }

    /// Counts what is kept towards the bound.
    fn charge(&mut self, kept: &str) -> Result<(), Error> {
        self.bytes_left = self.bytes_left.checked_sub(kept.len()).ok_or(Error::TooLarge { max: self.bytes_max })?;
        Ok(())
    }
}

// === impl Ask ===

impl Ask {
    /// Turns one request for input into a request of a session.
    fn read(answer: &Frame, key: String, span: Span, caller: &Caller, id: u64) -> Result<(Self, Frame), Error> {
        let keys = ["method", "params"];
        let [name, params] = pick_exact(answer.text_of(span), span.start, keys).map_err(|_| Error::Malformed)?;
        let name = name.and_then(|span| text(answer.text_of(span))).ok_or(Error::Malformed)?;
        let params = params.map(|span| answer.text_of(span));
        let frame = parse(build::request(&Id::from(id), &name, params)).ok_or(Error::Malformed)?;
        let question = Question::of(&frame).ok_or_else(|| Error::UnknownRequest { method: echo(&name) })?;
        let method = question.method();
        if !caller.may_be_asked(question, &frame) {
            return Err(Error::Undeclared { method });
        }
        let (frame, elicitation) = if question == Question::Url { named(frame, id)? } else { (frame, None) };
        Ok((Self { id, key, method, elicitation, response: None }, frame))
    }

    fn is_accepted(&self) -> bool {
        let Some(result) = &self.response else { return false };
        matches!(pick_exact(result, 0, ["action"]), Ok([Some(action)]) if action.of(result) == "\"accept\"")
    }
}

/// Finds the requests in the map of them.
fn requested(answer: &Frame, map: Span, max: usize) -> Result<Vec<(String, Span)>, Error> {
    let mut found = Vec::new();
    let read = members(answer.text_of(map), map.start, |key, span| {
        if found.len() <= max {
            found.push((key.to_owned(), span));
        }
    });
    read.map_err(|_| Error::Malformed)?;
    if found.len() > max { Err(Error::TooManyRequests { max }) } else { Ok(found) }
}

/// Takes the raw result out of the client's response.
fn given(method: Method, response: &Frame) -> Result<&str, Error> {
    let result = response.result_span().map(|span| response.text_of(span));
    let (code, message) = match (result, ErrorView::read(response)) {
        (Some(result), _) if result.starts_with('{') => return Ok(result),
        (Some(_), _) => (INVALID_PARAMS, "its result is no object".to_owned()),
        (None, Ok(error)) => (error.code, echo(&error.message)),
        (None, Err(_)) => (INTERNAL_ERROR, "its error cannot be read".to_owned()),
    };
    Err(Error::Input { method, code, message })
}

/// Gives an elicitation by URL the id that 2025-11-25 wants and 2026-07-28 does not have.
fn named(frame: Frame, id: u64) -> Result<(Frame, Option<String>), Error> {
    let params = frame.params_span().ok_or(Error::Malformed)?;
    let [own] = pick_exact(frame.text_of(params), params.start, ["elicitationId"]).map_err(|_| Error::Malformed)?;
    if let Some(own) = own {
        let own = text(frame.text_of(own)).map(std::borrow::Cow::into_owned);
        return Ok((frame, own));
    }
    let minted = format!("quorate-{id}");
    let mut splice = Splice::new(frame.bytes());
    // `mode` follows the comma: without it this would be no elicitation by URL.
    splice.insert(params.start + 1, format!("\"elicitationId\":{},", quote(&minted)).into_bytes());
    Ok((frame.spliced(&splice), Some(minted)))
}
