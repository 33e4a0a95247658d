//! Streams of each shape, translated into each: what a client reads is what the provider said.
//!
//! A history of what a model says is written as one provider's events, taken by an [`Exchange`](quorate_llm::exchange::Exchange), and read as its client reads it. What
//! the history comes to (texts, thoughts, calls, why it stops, what it costs) has to be the same.

mod wire;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_llm::answer::{Answer, Choice, Delta};
use quorate_llm::dialect::SentEvent;
use quorate_llm::exchange::{Asked, State};
use quorate_llm::message::{Content, Signature, ToolCall};
use quorate_llm::{Dialect, Stop, Usage, codec, pieces};
use wire::{MINT, exchanged, heard, written};

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

impl Told {
    /// What a whole answer comes to.
    fn whole(answer: Answer) -> Self {
        let mut deltas = Vec::new();
        for choice in answer.choices {
            for part in choice.parts {
                match part.content {
                    Content::Text(text) => deltas.push(Delta::Text { choice: 0, text }),
                    Content::Thought { text, .. } => deltas.push(Delta::Thought { choice: 0, text }),
                    Content::ToolCall(ToolCall { id, name, arguments, signature }) => {
                        deltas.push(Delta::ToolBegin { choice: 0, id, name, signature });
                        deltas.push(Delta::Arguments { choice: 0, text: arguments });
                    }
                    other => panic!("no answer of these has it: {other:?}"),
                }
            }
            deltas.push(Delta::Stop { choice: 0, stop: choice.stop });
        }
        deltas.extend(answer.usage.map(Delta::Usage));
        deltas.push(Delta::End);
        Self::of(&deltas)
    }
}

fn read(dialect: Dialect, events: &[Bytes]) -> Told {
    Told::of(&heard(dialect, events))
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

fn part() -> impl Strategy<Value = Content> {
    let call = ("[a-z_]{1,8}", text(), any::<u32>()).prop_map(|(name, value, id)| {
        let arguments = format!(r#"{{"value":{}}}"#, quorate_jsonrpc::quote(&value));
        Content::ToolCall(ToolCall { id: format!("call-{id}"), name, arguments, signature: None })
    });
    let thought = text().prop_map(|text| Content::Thought { text, signature: None });
    prop_oneof![text().prop_map(Content::Text), thought, call]
}

prop_compose! {
    fn answer()(parts in prop::collection::vec(part(), 0..6), length in any::<bool>(), input in 1_u64..9_999, output in 1_u64..9_999)
        -> Answer {
        let has_called = parts.iter().any(|part| part.as_call().is_some());
        let stop = if length { Stop::Length } else if has_called { Stop::ToolCalls } else { Stop::End };
        Answer {
            id: "id-1".to_owned(),
            model: "m-1".to_owned(),
            created_s: None,
            choices: vec![Choice { parts: parts.into_iter().map(Into::into).collect(), stop }],
            usage: Some(Usage { input, output, ..Usage::default() }),
        }
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

    /// Some providers answer whole whoever asks for a stream.
    #[test]
    fn a_whole_answer_becomes_a_stream_that_says_it(answer in answer()) {
        for provider in Dialect::ALL {
            let asked = Asked { client: provider, body: "{}", wants_usage: true };
            let body = codec::write_answer(&answer, &asked, &MINT).expect("it can be said");
            let expected = Told::whole(codec::read_answer(provider, &body).expect("it is an answer"));
            let events = pieces::of_whole(provider, &body).expect("it is an answer");
            for client in Dialect::ALL {
                let (got, exchange) = exchanged(provider, client, &events, true);
                prop_assert_eq!(exchange.state(), &State::Done);
                prop_assert_eq!(exchange.usage().copied(), expected.usage);
                prop_assert_eq!(exchange.stop().cloned(), expected.stop.clone());
                prop_assert_eq!(exchange.begun(), Some(("id-1", "m-1")));
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

/// What happens to an event on its way that must not.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Lost,
    Doubled,
    Swapped,
    Cut,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![Just(Harm::Lost), Just(Harm::Doubled), Just(Harm::Swapped), Just(Harm::Cut)]
}

fn harmed(mut events: Vec<SentEvent>, harm: Harm, at: usize) -> Vec<SentEvent> {
    match harm {
        Harm::Lost => drop(events.remove(at)),
        Harm::Doubled => events.insert(at, events[at].clone()),
        Harm::Swapped => {
            let next = (at + 1).min(events.len() - 1);
            events.swap(at, next);
        }
        Harm::Cut => {
            let kept = events[at].data.len() / 2;
            events[at].data.truncate(kept);
        }
    }
    events
}

/// What the events mean to a client of the provider's own shape; none where they mean nothing.
fn meant(dialect: Dialect, events: &[SentEvent]) -> Option<Told> {
    let (got, exchange) = exchanged(dialect, dialect, events, true);
    if exchange.state() != &State::Done {
        return None;
    }
    let told = std::panic::catch_unwind(|| read(dialect, &got)).ok()?;
    let is_empty = |part: &Part| matches!(part, Part::Call { arguments, .. } if arguments.is_empty());
    (!told.parts.iter().any(is_empty)).then_some(told)
}

/// What a client hears whose calls are whole: a call that the limit of tokens has cut off is none.
fn without_a_cut_call(mut told: Told) -> Told {
    let is_cut =
        |arguments: &str| serde_json::from_str::<serde_json::Value>(arguments).is_err_and(|error| error.is_eof());
    if let (Some(Stop::Length), Some(Part::Call { arguments, .. })) = (&told.stop, told.parts.last())
        && is_cut(arguments)
    {
        told.parts.pop();
    }
    told
}

proptest! {
    /// What comes of events that are lost, doubled, swapped or cut is an error, or what they mean in the provider's own shape.
    #[test]
    fn events_that_are_harmed_end_in_an_error_or_in_what_they_mean(
        history in history(), harm in harm(), at in any::<prop::sample::Index>(),
    ) {
        for provider in Dialect::ALL {
            let events = written(provider, &history);
            let at = at.index(events.len());
            let events = harmed(events, harm, at);
            for client in Dialect::ALL.into_iter().filter(|client| *client != provider) {
                let (got, exchange) = exchanged(provider, client, &events, true);
                let told = read(client, &got);
                let pair = format!("{provider:?} to {client:?}, {harm:?} at {at}");
                prop_assert_eq!(told.is_whole, exchange.state() == &State::Done, "{}", pair);
                prop_assert!(told.is_whole || told.has_failed || got.is_empty(), "{}: {:?}", pair, got);
                if let Some(meant) = meant(provider, &events).filter(|_| told.is_whole) {
                    let meant = if client == Dialect::Generate { without_a_cut_call(meant) } else { meant };
                    // Some shapes tell the usage of which nothing is known as none, some as nothing.
                    let counted = |told: Told| Told { usage: Some(told.usage.unwrap_or_default()), ..told };
                    prop_assert_eq!(counted(told), counted(meant), "{}", pair);
                }
            }
        }
    }

    /// What is no stream of any shape is an error, and never a panic.
    #[test]
    fn any_events_end_in_an_error_or_whole(datas in prop::collection::vec(any_event(), 0..8)) {
        for provider in Dialect::ALL {
            let events: Vec<SentEvent> = datas.iter().map(|data| SentEvent { name: None, data: data.clone().into() }).collect();
            for client in Dialect::ALL.into_iter().filter(|client| *client != provider) {
                let (got, exchange) = exchanged(provider, client, &events, true);
                let told = read(client, &got);
                prop_assert_eq!(told.is_whole, exchange.state() == &State::Done, "{:?} to {:?}: {:?}", provider, client, got);
                prop_assert!(told.is_whole || told.has_failed || got.is_empty());
            }
        }
    }
}

/// An event that looks like one of some shape, with members that may be missing or beyond what is sensible.
fn any_event() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        Just("message_start"),
        Just("content_block_start"),
        Just("content_block_delta"),
        Just("content_block_stop"),
        Just("message_delta"),
        Just("message_stop"),
        Just("ping"),
        Just("response.created"),
        Just("response.completed"),
        Just("response.output_item.added"),
        Just("response.output_item.done"),
        Just("response.output_text.delta"),
        Just("response.function_call_arguments.delta"),
        Just("response.failed"),
        Just("error"),
    ];
    let member = prop_oneof![
        Just(
            r#""choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":3,"id":"c","function":{"name":"t","arguments":"{"}}]}}]"#
        ),
        Just(
            r#""choices":[{"index":1,"delta":{"tool_calls":[{"function":{"arguments":"}"}}]},"finish_reason":"stop"}]"#
        ),
        Just(r#""choices":[{"delta":null,"finish_reason":"length"}]"#),
        Just(
            r#""usage":{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615,"input_tokens":18446744073709551615,"cache_read_input_tokens":18446744073709551615}"#
        ),
        Just(
            r#""candidates":[{"content":{"parts":[{"text":"a"},{"functionCall":{"name":"t"}}]},"finishReason":"STOP"},{"index":2}]"#
        ),
        Just(
            r#""usageMetadata":{"promptTokenCount":18446744073709551615,"toolUsePromptTokenCount":1,"thoughtsTokenCount":18446744073709551615,"candidatesTokenCount":18446744073709551615}"#
        ),
        Just(r#""message":{"id":"i","model":"m"}"#),
        Just(r#""index":0,"content_block":{"type":"tool_use","id":"c","name":"t"}"#),
        Just(r#""index":0,"delta":{"type":"input_json_delta","partial_json":"{"}"#),
        Just(r#""delta":{"stop_reason":"tool_use"}"#),
        Just(r#""delta":"a""#),
        Just(r#""response":{"id":"r","model":"m","output":[]}"#),
        Just(r#""output_index":1,"item":{"type":"function_call","call_id":"c","name":"t","arguments":"{}"}"#),
        Just(r#""item":{"type":"reasoning","encrypted_content":"e"}"#),
        Just(r#""sequence_number":1"#),
    ];
    let event = (kind, prop::collection::vec(member, 0..3)).prop_map(|(kind, members)| {
        format!(r#"{{"type":"{kind}"{}}}"#, members.iter().map(|member| format!(",{member}")).collect::<String>())
    });
    prop_oneof![8 => event, 1 => Just("[DONE]".to_owned()), 1 => "\\PC{0,8}"]
}

#[test]
fn one_answer_of_two_that_is_cut_is_no_whole_stream() {
    let events: Vec<SentEvent> = [
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}"#,
        r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ]
    .map(|data| SentEvent { name: None, data: Bytes::from_static(data.as_bytes()) })
    .to_vec();
    for client in Dialect::ALL {
        let (got, exchange) = exchanged(Dialect::Chat, client, &events, true);
        assert!(matches!(exchange.state(), State::Failed(_)), "{client:?}");
        assert!(!read(client, &got).is_whole, "{client:?}");
    }
}

#[test]
fn a_stream_that_fails_before_it_begins_leaves_the_answer_to_the_gateway() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let events = [SentEvent { name: Some("error"), data: Bytes::from_static(overloaded.as_bytes()) }];
    for client in [Dialect::Chat, Dialect::Responses, Dialect::Generate] {
        let (got, exchange) = exchanged(Dialect::Messages, client, &events, true);
        assert!(matches!(exchange.state(), State::Failed(_)) && got.is_empty(), "{client:?}: {got:?}");
    }
}

#[test]
fn the_id_of_an_item_is_one_and_the_same_in_all_its_events() {
    let call = |id: &str| {
        let begin = Delta::ToolBegin { choice: 0, id: id.to_owned(), name: "t".to_owned(), signature: None };
        [begin, Delta::Arguments { choice: 0, text: "{}".to_owned() }]
    };
    let deltas = [vec![begin()], call("a").to_vec(), call("b").to_vec()].concat();

    let events = written(Dialect::Responses, &deltas);

    let texts: Vec<String> = events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect();
    let second = texts.iter().filter(|text| text.contains(r#""output_index":1"#)).collect::<Vec<_>>();
    assert!(second.iter().all(|text| text.contains("fc_id-1_1") && !text.contains("fc_id-1_0")), "{second:?}");
}

#[test]
fn two_thoughts_that_are_sealed_stay_two() {
    let thought = |text: &str| {
        let signature = Signature { of: Dialect::Generate, text: format!("seal of {text}") };
        [Delta::Thought { choice: 0, text: text.to_owned() }, Delta::Signature { choice: 0, signature }]
    };
    let deltas = [vec![begin()], thought("a").to_vec(), thought("b").to_vec()].concat();

    let blocks = written(Dialect::Messages, &deltas);
    let items = written(Dialect::Responses, &deltas);

    let count = |events: &[SentEvent], name| events.iter().filter(|event| event.name == Some(name)).count();
    assert_eq!(count(&blocks, "content_block_start"), 2);
    assert_eq!(count(&items, "response.output_item.added"), 2);
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
