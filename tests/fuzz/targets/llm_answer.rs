//! Whole answers of models: whatever a provider says is its own fault, or an answer that each client reads, whole and as a stream.
//! Input: the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_llm::dialect::{self, Mint, SentEvent};
use quorate_llm::error::Kind;
use quorate_llm::exchange::{Asked, Exchange, Received, Sent, State};
use quorate_llm::tokens::Sample;
use quorate_llm::{Dialect, Fault, codec, pieces};

const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

fuzz_target!(|body: &[u8]| {
    for provider in Dialect::ALL {
        let _ = (dialect::is_answer(provider, body), dialect::usage_of(provider, body));
        let _ = Fault::of_provider(http::StatusCode::TOO_MANY_REQUESTS, body, None);
        let Ok(answer) = codec::read_answer(provider, body) else { continue };
        let _ = Sample::of(&answer.choices);
        for client in Dialect::ALL {
            let asked = Asked { client, body: "{}", wants_usage: true };
            let whole = codec::write_answer(&answer, &asked, &MINT);
            match &whole {
                Ok(body) => drop(codec::read_answer(client, body).expect("a client reads what is written")),
                Err(fault) => assert_eq!(fault.kind, Kind::Provider, "{fault}"),
            }
            // The body is answer enough for its own shape's stream to be heard, or not, as it is read whole.
            let Ok(events) = pieces::of_whole(provider, body) else { continue };
            let (heard, exchange) = exchanged(provider, client, events);
            let (_, listening) = exchanged(client, client, heard);
            match (exchange.state(), listening.state()) {
                (State::Done, State::Done) | (State::Failed(_), State::Failed(_)) => {}
                (said, heard) => panic!("{provider:?} to {client:?}: {said:?} is heard as {heard:?}"),
            }
        }
    }
});

fn exchanged(provider: Dialect, client: Dialect, events: Vec<SentEvent>) -> (Vec<SentEvent>, Exchange) {
    let mut exchange = Exchange::new(provider, &Asked { client, body: "{}", wants_usage: true });
    let mut heard = Vec::new();
    for event in events {
        match exchange.take(&Received { name: None, data: event.data.clone() }, &MINT) {
            Sent::Same => heard.push(event),
            Sent::Events(sent) => heard.extend(sent),
        }
    }
    heard.extend(exchange.end(&MINT));
    (heard, exchange)
}
