//! Bytes of one shape to bytes of another: which reader, and which writer.
//!
//! Thin: what each shape says is in its [`dialect`](crate::dialect). What a pair keeps is found by the tests, and told by the
//! documentation's table. Answers in pieces are an [`Exchange`](crate::exchange::Exchange)'s, which keeps state between them.

use crate::answer::{Answer, Choice, Stop};
use crate::api::Dialect;
use crate::dialect::{Mint, Target, chat, generate, messages, responses};
use crate::error::Fault;
use crate::exchange::Asked;
use crate::loss::Losses;
use crate::message::{Content, Request};

/// Reads a client's request. Whether a Gemini client wants a stream is said by its path (`is_streamed`), by all others in the body.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) with the field that cannot be taken.
pub fn read(client: Dialect, body: &str, is_streamed: bool, losses: &mut Losses) -> Result<Request, Fault> {
    match client {
        Dialect::Chat => chat::read(body, losses),
        Dialect::Responses => responses::read(body, losses),
        Dialect::Messages => messages::read(body, losses),
        Dialect::Generate => generate::read(body, is_streamed, losses),
    }
}

/// Writes it for a provider.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what the provider's shape cannot say and no answer is right without.
pub fn write(provider: Dialect, request: &Request, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    match provider {
        Dialect::Chat => chat::write(request, target, losses),
        Dialect::Responses => responses::write(request, target, losses),
        Dialect::Messages => messages::write(request, target, losses),
        Dialect::Generate => generate::write(request, losses),
    }
}

/// Reads a whole answer of a provider.
///
/// # Errors
/// [`Kind::Provider`](crate::error::Kind::Provider) for what is none.
pub fn read_answer(provider: Dialect, body: &[u8]) -> Result<Answer, Fault> {
    let mut answer = match provider {
        Dialect::Chat => chat::read_answer(body),
        Dialect::Responses => responses::read_answer(body),
        Dialect::Messages => messages::read_answer(body),
        Dialect::Generate => generate::read_answer(body),
    }?;
    answer.choices.iter_mut().for_each(complete);
    Ok(answer)
}

/// Gives calls without arguments empty ones, which clients parse; not where they may have been cut.
fn complete(choice: &mut Choice) {
    if matches!(choice.stop, Stop::Length | Stop::Filtered) {
        return;
    }
    for part in &mut choice.parts {
        if let Content::ToolCall(call) = &mut part.content
            && call.arguments.trim_ascii().is_empty()
        {
            "{}".clone_into(&mut call.arguments);
        }
    }
}

/// Writes a whole answer for whoever asks.
///
/// # Errors
/// [`Kind::Provider`](crate::error::Kind::Provider) for what cannot be said in the client's shape.
pub fn write_answer(answer: &Answer, asked: &Asked<'_>, mint: &Mint<'_>) -> Result<Vec<u8>, Fault> {
    match asked.client {
        Dialect::Chat => Ok(chat::write_answer(answer, mint)),
        Dialect::Responses => responses::write_answer(answer, asked.body, mint),
        Dialect::Messages => messages::write_answer(answer, mint),
        Dialect::Generate => generate::write_answer(answer, mint),
    }
}
