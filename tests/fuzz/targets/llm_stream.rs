//! Streams of models: whatever events a provider sends, and wherever they end, its client hears a whole answer or an error, and never
//! an end that looks whole and is not. Input: the data of one event per line.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_llm::Dialect;
use quorate_llm::dialect::{Mint, SentEvent};
use quorate_llm::exchange::{Asked, Exchange, Received, Sent, State};

/// More events teach the fuzzer nothing.
const EVENTS_MAX: usize = 32;
const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

fuzz_target!(|input: &[u8]| {
    let events: Vec<Bytes> = input.split(|byte| *byte == b'\n').take(EVENTS_MAX).map(Bytes::copy_from_slice).collect();
    for provider in Dialect::ALL {
        for client in Dialect::ALL {
            let (heard, exchange) = exchanged(provider, client, &events);
            let has_failed = match exchange.state() {
                State::Done => false,
                State::Failed(_) => true,
                State::Open | State::Begun => panic!("{provider:?} to {client:?} has no end"),
            };
            // What passes as it came is judged by whom it came from.
            if provider == client {
                continue;
            }
            let (_, listening) = exchanged(client, client, &heard);
            match listening.state() {
                State::Done => assert!(!has_failed, "{provider:?} to {client:?} looks whole: {heard:?}"),
                State::Failed(_) => assert!(has_failed, "{provider:?} to {client:?} looks cut: {heard:?}"),
                State::Open | State::Begun => panic!("{client:?} hears no end: {heard:?}"),
            }
        }
    }
});

/// What a client gets of events, and how far they came.
fn exchanged(provider: Dialect, client: Dialect, events: &[Bytes]) -> (Vec<Bytes>, Exchange) {
    let mut exchange = Exchange::new(provider, &Asked { client, body: "{}", wants_usage: true });
    let mut heard = Vec::new();
    let data = |sent: Vec<SentEvent>| sent.into_iter().map(|event| event.data);
    for event in events {
        match exchange.take(&Received { name: None, data: event.clone() }, &MINT) {
            Sent::Same => heard.push(event.clone()),
            Sent::Events(sent) => heard.extend(data(sent)),
        }
    }
    heard.extend(data(exchange.end(&MINT)));
    (heard, exchange)
}
