//! An answer of `generateContent` as the only event of its stream, which is what it would be there.
//!
//! In: a body. Out: one event, with the bytes of the body. A candidate that does not say why it stops gets the word for a good end: a
//! stream without it would be one that was cut.

use super::Said;
use super::object::{Object, array};
use crate::dialect::SentEvent;
use crate::error::Fault;

pub(super) fn events(body: &Object<'_>, said: &mut Said) -> Result<(), Fault> {
    let candidates = body.list("candidates")?;
    if candidates.is_empty() {
        return said.push(SentEvent::data(body.write()));
    }
    let candidates = candidates.into_iter().enumerate().map(|(place, raw)| {
        let candidate = Object::read(raw)?.or("finishReason", "\"STOP\"");
        Ok(if place == 0 { candidate } else { candidate.or("index", place.to_string()) }.write())
    });
    let candidates: Vec<String> = candidates.collect::<Result<_, Fault>>()?;
    said.push(SentEvent::data(body.clone().with("candidates", array(&candidates)).write()))
}
