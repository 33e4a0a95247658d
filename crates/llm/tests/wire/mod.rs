//! Streams of each shape: written as a provider writes them, exchanged, and read as a client reads them.

use bytes::Bytes;
use quorate_llm::Dialect;
use quorate_llm::answer::Delta;
use quorate_llm::dialect::{Mint, SentEvent, chat, generate, messages, responses};
use quorate_llm::exchange::{Asked, Exchange, Received, Sent};

/// What an answer gets where its provider gave it nothing.
pub(crate) const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

/// The events of a provider that says this.
pub(crate) fn written(dialect: Dialect, deltas: &[Delta]) -> Vec<SentEvent> {
    let mut out = Vec::new();
    let (mut chat, mut responses) = (chat::Writer::new(true), responses::Writer::new("{}"));
    let (mut messages, mut generate) = (messages::Writer::default(), generate::Writer::default());
    for delta in deltas {
        match dialect {
            Dialect::Chat => chat.write(delta, &MINT, &mut out),
            Dialect::Responses => responses.write(delta, &MINT, &mut out),
            Dialect::Messages => messages.write(delta, &MINT, &mut out),
            Dialect::Generate => generate.write(delta, &MINT, &mut out).expect("arguments are objects"),
        }
    }
    out
}

/// What a client hears in events.
pub(crate) fn heard(dialect: Dialect, events: &[Bytes]) -> Vec<Delta> {
    let mut out = Vec::new();
    let (mut chat, mut responses) = (chat::Reader::default(), responses::Reader::default());
    let (mut messages, mut generate) = (messages::Reader::default(), generate::Reader::default());
    for data in events {
        let read = match dialect {
            Dialect::Chat => chat.read(data, &mut out),
            Dialect::Responses => responses.read(data, &mut out),
            Dialect::Messages => messages.read(data, &mut out),
            Dialect::Generate => generate.read(data, &mut out),
        };
        read.unwrap_or_else(|fault| panic!("{dialect:?}: {fault} in {data:?}"));
    }
    if dialect == Dialect::Generate {
        generate.end(&mut out);
    }
    out
}

/// What a client gets of a provider's events, and how far the exchange came.
pub(crate) fn exchanged(
    provider: Dialect,
    client: Dialect,
    events: &[SentEvent],
    wants_usage: bool,
) -> (Vec<Bytes>, Exchange) {
    let mut exchange = Exchange::new(provider, &Asked { client, body: "{}", wants_usage });
    let mut got = Vec::new();
    for event in events {
        let name = event.name.map(Bytes::from);
        match exchange.take(&Received { name, data: event.data.clone() }, &MINT) {
            Sent::Same => got.push(event.data.clone()),
            Sent::Events(events) => got.extend(events.into_iter().map(|event| event.data)),
        }
    }
    got.extend(exchange.end(&MINT).into_iter().map(|event| event.data));
    (got, exchange)
}
