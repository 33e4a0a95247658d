//! Whole answers of models: whatever a provider says is its own fault, or an answer that each client reads, whole and as a stream.
//! Input: the body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_llm::dialect::{self, Mint};
use quorate_llm::error::Kind;
use quorate_llm::exchange::{Asked, Exchange, Received, State};
use quorate_llm::tokens::Sample;
use quorate_llm::{Dialect, Fault, codec};

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
            match Exchange::of_whole(provider, &asked, answer.clone(), &MINT) {
                Ok((exchange, events)) => {
                    assert_eq!(exchange.state(), &State::Done);
                    let mut listening = Exchange::new(client, &asked);
                    for event in events {
                        listening.take(&Received { name: event.name.map(Bytes::from), data: event.data }, &MINT);
                    }
                    listening.end(&MINT);
                    assert_eq!(listening.state(), &State::Done, "{provider:?} to {client:?}");
                    assert_eq!(listening.stop().is_some(), exchange.stop().is_some());
                }
                Err(fault) => assert_eq!(fault.kind, Kind::Provider, "{fault}"),
            }
        }
    }
});
