//! A whole answer as the stream that its provider would have said it in.
//!
//! Some servers do not stream, or not for every request, and answer whole what is asked as a stream. In: such a body. Out: events of the
//! same shape, which go the way of any stream from there. Everything stays: members and parts that nobody here knows are said as they
//! are, in the event where their shape has such things. Raw JSON throughout, so that numbers and texts keep their bytes.

mod chat;
mod generate;
mod messages;
mod object;
mod responses;

use crate::api::Dialect;
use crate::dialect::{SentEvent, is_answer, no_answer};
use crate::error::{Fault, Kind};

use object::Object;

/// The most events of one answer.
const EVENTS_MAX: usize = 50_000;

/// The bytes that the events of a small answer may have together: 64 MiB.
const BYTES_MAX: usize = 64 << 20;

/// How often those of a large one may have its bytes. A response's texts come four times before the end, which has all again.
const EXPANSION_MAX: usize = 8;

/// Spells a whole answer of a provider as events of its own shape, one at least.
///
/// # Errors
/// [`Kind::Provider`] for what is no answer, and for one with too many parts.
pub fn of_whole(provider: Dialect, body: &[u8]) -> Result<Vec<SentEvent>, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| no_answer())?;
    // A line end within JSON is space, and would be two lines of an event.
    let text = text.replace(['\r', '\n'], " ");
    let body = Object::read(text.trim())?;
    if let Some(event) = error_of(provider, &body) {
        return Ok(vec![event]);
    }
    // Gemini may have nothing to say, and says why; all others have the member that makes it an answer, or have failed.
    if provider != Dialect::Generate && body.get("error").is_none() && !is_answer(provider, text.as_bytes()) {
        return Err(no_answer());
    }
    let mut said = Said { events: Vec::new(), bytes: 0, bytes_max: BYTES_MAX.max(EXPANSION_MAX * text.len()) };
    match provider {
        Dialect::Chat => chat::events(&body, &mut said)?,
        Dialect::Responses => responses::events(&body, &mut said)?,
        Dialect::Messages => messages::events(&body, &mut said)?,
        Dialect::Generate => generate::events(&body, &mut said)?,
    }
    Ok(said.events)
}

/// The event of an answer that is an error. Gemini's look the same in a stream, and a response that failed is told as one.
fn error_of(provider: Dialect, body: &Object<'_>) -> Option<SentEvent> {
    body.get("error")?;
    let named = || SentEvent::named("error", body.clone().with("type", "\"error\"").write());
    match provider {
        Dialect::Chat => Some(SentEvent::data(body.write())),
        Dialect::Messages => Some(named()),
        Dialect::Responses => (body.text("status").as_deref() != Some("failed")).then(named),
        Dialect::Generate => None,
    }
}

/// Events so far.
struct Said {
    events: Vec<SentEvent>,
    bytes: usize,
    bytes_max: usize,
}

// === impl Said ===

impl Said {
    fn push(&mut self, event: SentEvent) -> Result<(), Fault> {
        self.bytes += event.data.len();
        if self.events.len() >= EVENTS_MAX || self.bytes > self.bytes_max {
            return Err(Fault::new(Kind::Provider, "the provider's answer has too many parts"));
        }
        self.events.push(event);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
