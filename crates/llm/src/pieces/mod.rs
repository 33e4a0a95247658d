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
use crate::dialect::{SentEvent, is_answer};
use crate::error::{Fault, Kind};

use object::Object;

/// Spells a whole answer of a provider as events of its own shape, one at least.
///
/// # Errors
/// [`Kind::Provider`] for what is no answer.
pub fn of_whole(provider: Dialect, body: &[u8]) -> Result<Vec<SentEvent>, Fault> {
    let text = std::str::from_utf8(body).map_err(|_| not_one())?;
    // A line end within JSON is space, and would be two lines of an event.
    let text = text.replace(['\r', '\n'], " ");
    // Gemini may have nothing to say, and says why; all others have the member that makes it an answer.
    if provider != Dialect::Generate && !is_answer(provider, text.as_bytes()) {
        return Err(not_one());
    }
    let body = Object::read(text.trim())?;
    match provider {
        Dialect::Chat => chat::events(&body),
        Dialect::Responses => responses::events(&body),
        Dialect::Messages => messages::events(&body),
        Dialect::Generate => generate::events(&body),
    }
}

fn not_one() -> Fault {
    Fault::new(Kind::Provider, "the provider said what is no answer of its API")
}

#[cfg(test)]
mod tests;
