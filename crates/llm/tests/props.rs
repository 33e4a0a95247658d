//! Streams of each shape, translated into each: what a client reads is what the provider said.
//!
//! A history of what a model says is written as one provider's events, taken by an [`Exchange`], and read as its client reads it. What
//! the history comes to (texts, thoughts, calls, why it stops, what it costs) has to be the same.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_llm::answer::Delta;
use quorate_llm::dialect::{Mint, SentEvent, chat, generate, messages, responses};
use quorate_llm::exchange::{Asked, Exchange, Received, Sent, State};
use quorate_llm::{Dialect, Stop, Usage};

const MINT: Mint<'static> = Mint { id: "minted", now_s: 1_764_000_000 };

/// What a stream comes to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    parts: Vec<Part>,
    stop: Option<Stop>,
    usage: Option<Usage>,
    is_whole: bool,
    has_failed: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Thought(String),
    Call { name: String, arguments: String },
}

impl Told {
    fn of(deltas: &[Delta]) -> Self {
        let mut told = Self::default();
        for delta in deltas {
            match delta {
                Delta::Text { text, .. } | Delta::Refusal { text, .. } => match told.parts.last_mut() {
                    Some(Part::Text(said)) => said.push_str(text),
                    _ => told.parts.push(Part::Text(text.clone())),
                },
                Delta::Thought { text, .. } => match told.parts.last_mut() {
                    Some(Part::Thought(said)) => said.push_str(text),
                    _ => told.parts.push(Part::Thought(text.clone())),
                },
                Delta::ToolBegin { name, .. } => {
                    told.parts.push(Part::Call { name: name.clone(), arguments: String::new() });
                }
                Delta::Arguments { text, .. } => match told.parts.last_mut() {
                    Some(Part::Call { arguments, .. }) => arguments.push_str(text),
                    other => panic!("arguments of no call after {other:?}"),
                },
                Delta::Stop { stop, .. } => told.stop = Some(stop.clone()),
                Delta::Usage(usage) => told.usage = Some(*usage),
                Delta::End => told.is_whole = true,
                Delta::Failed(_) => told.has_failed = true,
                Delta::Begin { .. } | Delta::Signature { .. } | Delta::SealedThought { .. } => {}
            }
        }
        told
    }
}

fn written(dialect: Dialect, deltas: &[Delta]) -> Vec<SentEvent> {
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

fn read(dialect: Dialect, events: &[Bytes]) -> Told {
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
    Told::of(&out)
}

/// What a client gets of a provider's events, and how far the exchange came.
fn exchanged(provider: Dialect, client: Dialect, events: &[SentEvent], wants_usage: bool) -> (Vec<Bytes>, Exchange) {
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

fn begin() -> Delta {
    Delta::Begin { id: "id-1".to_owned(), model: "m-1".to_owned(), created_s: Some(1_764_000_001) }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,12}", "\\PC{1,6}", Just("\"\\\n\u{2028}é".to_owned())]
}

fn segment() -> impl Strategy<Value = Vec<Delta>> {
    let said = prop::collection::vec(text(), 1..4)
        .prop_map(|texts| texts.into_iter().map(|text| Delta::Text { choice: 0, text }).collect());
    let thought = prop::collection::vec(text(), 1..4)
        .prop_map(|texts| texts.into_iter().map(|text| Delta::Thought { choice: 0, text }).collect());
    let call = ("[a-z_]{1,8}", text(), 1_usize..4, any::<u32>()).prop_map(|(name, value, cuts, id)| {
        let arguments = format!(r#"{{"value":{}}}"#, quorate_jsonrpc::quote(&value));
        let mut deltas = vec![Delta::ToolBegin { choice: 0, id: format!("call-{id}"), name, signature: None }];
        let letters: Vec<char> = arguments.chars().collect();
        let pieces = letters.chunks(letters.len().div_ceil(cuts));
        deltas.extend(pieces.map(|piece| Delta::Arguments { choice: 0, text: piece.iter().collect() }));
        deltas
    });
    prop_oneof![said, thought, call]
}

prop_compose! {
    fn history()(segments in prop::collection::vec(segment(), 0..6), length in any::<bool>(), input in 1_u64..9_999, output in 1_u64..9_999)
        -> Vec<Delta> {
        let mut deltas = vec![begin()];
        deltas.extend(segments.into_iter().flatten());
        let calls = deltas.iter().any(|delta| matches!(delta, Delta::ToolBegin { .. }));
        let stop = match (length, calls) {
            (true, _) => Stop::Length,
            (false, true) => Stop::ToolCalls,
            (false, false) => Stop::End,
        };
        deltas.push(Delta::Stop { choice: 0, stop });
        deltas.push(Delta::Usage(Usage { input, output, ..Usage::default() }));
        deltas.push(Delta::End);
        deltas
    }
}

proptest! {
    #[test]
    fn a_client_reads_what_the_provider_said(history in history()) {
        let expected = Told::of(&history);
        for provider in Dialect::ALL {
            let events = written(provider, &history);
            for client in Dialect::ALL {
                let (got, exchange) = exchanged(provider, client, &events, true);
                prop_assert_eq!(exchange.state(), &State::Done);
                prop_assert_eq!(exchange.usage().copied(), expected.usage);
                prop_assert_eq!(exchange.stop().cloned(), expected.stop.clone());
                prop_assert_eq!(read(client, &got), expected.clone(), "{:?} to {:?}", provider, client);
            }
        }
    }

    /// Cut anywhere, a stream never ends as a whole one does.
    #[test]
    fn a_stream_that_is_cut_ends_with_an_error(history in history(), cut in any::<prop::sample::Index>()) {
        for provider in Dialect::ALL {
            let events = written(provider, &history);
            let kept = &events[..cut.index(events.len())];
            for client in Dialect::ALL {
                let (got, exchange) = exchanged(provider, client, kept, true);
                // Chat completions have said everything with their finish reason.
                if exchange.state() == &State::Done {
                    prop_assert!(matches!(provider, Dialect::Chat), "{:?}", provider);
                    continue;
                }
                prop_assert!(matches!(exchange.state(), State::Failed(_)));
                let told = read(client, &got);
                prop_assert!(!told.is_whole, "{:?} to {:?}", provider, client);
                prop_assert!(told.has_failed || got.is_empty(), "{:?} to {:?}: {:?}", provider, client, got);
            }
        }
    }
}

#[test]
fn what_a_client_of_chat_did_not_ask_for_is_hidden() {
    let usage = Delta::Usage(Usage { input: 3, output: 4, ..Usage::default() });
    let said = Delta::Text { choice: 0, text: "Hi".to_owned() };
    let stop = Delta::Stop { choice: 0, stop: Stop::End };
    let events = written(Dialect::Chat, &[begin(), said, stop, usage, Delta::End]);

    for (wants_usage, chunks) in [(true, 4), (false, 3)] {
        let (got, exchange) = exchanged(Dialect::Chat, Dialect::Chat, &events, wants_usage);
        assert_eq!(got.len(), chunks, "{got:?}");
        assert_eq!(exchange.usage().map(Usage::total), Some(7), "it is counted");
        assert_eq!(got.last().map(AsRef::as_ref), Some(&b"[DONE]"[..]));
    }
}

#[test]
fn what_is_no_event_is_an_error_and_nothing_of_it_is_shown() {
    for provider in Dialect::ALL {
        for client in Dialect::ALL {
            let begun = written(provider, &[begin(), Delta::Text { choice: 0, text: "Hi".to_owned() }]);
            let html = SentEvent { name: None, data: Bytes::from_static(b"<html>10.0.0.1</html>") };
            let (got, exchange) = exchanged(provider, client, &[begun, vec![html]].concat(), false);

            assert!(matches!(exchange.state(), State::Failed(_)));
            assert!(read(client, &got).has_failed, "{provider:?} to {client:?}: {got:?}");
            assert!(got.iter().all(|data| !String::from_utf8_lossy(data).contains("10.0.0.1")));
        }
    }
}
